"""Outputs: where the progress and the outcomes of a run are written."""
