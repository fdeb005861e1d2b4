"""Child processes, and complete runs that consist of them."""
