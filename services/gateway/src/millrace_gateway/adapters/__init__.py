"""What the gateway touches: HTTP, gRPC, Kafka, the registry, the clock."""
