"""Jobs of millrace for Flink: scoring, windowed features, and evidence of years of predictions."""
