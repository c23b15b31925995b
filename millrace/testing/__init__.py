"""The test kit: local broker fixture, in-memory log, manual clock, contract suites."""
