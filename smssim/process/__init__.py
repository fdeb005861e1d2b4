"""The current process: its signals, streams, log and terminal."""
