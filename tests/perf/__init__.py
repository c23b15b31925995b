"""How fast the scorer is, beside loops that do the same by hand and one that only copies: `python -m tests.perf`."""
