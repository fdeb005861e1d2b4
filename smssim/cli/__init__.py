"""The command line: turns flags and SMSSIM_* variables into checked settings, then runs a command with them.

Reports an invalid command line in one line. The flags are declared in `settings`.
"""

from smssim.cli.entry import main

__all__ = ["main"]
