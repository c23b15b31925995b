"""What the scorer decides: pure functions of values and a given time."""
