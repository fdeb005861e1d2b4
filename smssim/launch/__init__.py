"""Child processes, and a whole run made of them."""
