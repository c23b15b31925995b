"""How fast the gateway answers, beside MLServer: the same model, client and machine: `python -m tests.perf.serving`."""
