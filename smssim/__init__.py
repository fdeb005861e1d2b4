"""A rehearsal of a mass SMS alert: a producer delivers messages, senders send them, a monitor counts the outcomes."""

__version__ = "0.1.0"
