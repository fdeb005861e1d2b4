"""`python -m smssim`: the same as `smssim`."""

from smssim.cli import main

if __name__ == "__main__":
    main()
