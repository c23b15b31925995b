"""Batch scoring: files of features to files of predictions, each row once."""
