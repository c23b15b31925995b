"""The doors: REST and gRPC around the same engine that scores topics."""
