"""Runs that `--history` has kept: a directory with a JSON file about each of them."""
