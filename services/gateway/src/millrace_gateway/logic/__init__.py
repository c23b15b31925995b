"""What the gateway decides; it knows no protocol, no clock and no client."""
