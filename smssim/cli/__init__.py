"""The command line: flags and SMSSIM_* variables to checked settings, then a node.

Knows how to ask and how to answer a wrong flag in one line. What there is to say about a flag stands in `settings`.
"""

from smssim.cli.entry import main

__all__ = ["main"]
