"""Theory: closed forms for a scenario, beside the twin. `theory` holds them; the other modules are its parts."""
