"""The doors over HTTP, one module each; `millrace_gateway.app` lists them."""
