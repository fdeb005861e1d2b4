"""What survives a crash: journals, and the commits that fill them."""
