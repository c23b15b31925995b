"""Bytes of one record to columns, and columns back to bytes: JSON, Avro, Arrow IPC."""
