"""The twin: a scenario played in virtual time, by pools of lanes that advance together."""
