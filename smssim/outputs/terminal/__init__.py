"""Outputs for people: a view on a terminal, or lines of text."""
