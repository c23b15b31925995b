"""The doors over gRPC, one module each; `millrace_gateway.app` lists them."""
