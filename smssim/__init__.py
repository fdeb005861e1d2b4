"""smssim rehearses a mass SMS alert: a producer holds the messages, senders send them, a monitor counts."""

__version__ = "0.1.0"
