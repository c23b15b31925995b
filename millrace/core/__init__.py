"""Pure logic: records, columns, batching, statistics, errors. No clock, no randomness, no client."""
