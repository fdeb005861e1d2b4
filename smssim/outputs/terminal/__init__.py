"""What is shown on a terminal or as lines of text."""
