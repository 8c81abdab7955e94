"""Pure decisions: time and randomness come in as arguments, answers go out."""
