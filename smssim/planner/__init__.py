"""`smssim plan`: plays a scenario in virtual time with many seeds, and shows what it found."""

from smssim.planner.command import serve

__all__ = ["serve"]
