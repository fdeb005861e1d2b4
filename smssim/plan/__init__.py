"""The plan: a scenario played in virtual time by the twin, closed forms beside it, and the search for what suffices."""
