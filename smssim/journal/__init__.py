"""Journals, which keep the state of a node across a crash, and the commits that write them."""
