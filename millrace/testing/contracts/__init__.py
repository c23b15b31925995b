"""Suites that every implementation of a boundary passes, the real one and the one for tests alike."""
