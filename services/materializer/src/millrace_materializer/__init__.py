"""The materializer: any topic to the online store, the newest value of each key."""
