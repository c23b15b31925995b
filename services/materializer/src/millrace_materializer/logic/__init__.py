"""What is decided, without knowing Kafka or Redis."""
