"""The scorer: feature records to predictions, in micro-batches, exactly once."""
