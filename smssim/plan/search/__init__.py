"""The search for the least of one setting that meets all goals."""
