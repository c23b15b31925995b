"""What users import: send, watch, explain, dead letters, models, the local broker."""
