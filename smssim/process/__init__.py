"""This process: its signals, streams, log and terminal."""
