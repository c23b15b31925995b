"""What is decided, without doing it."""
