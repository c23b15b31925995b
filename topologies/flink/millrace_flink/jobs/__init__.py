"""How sources, functions and sinks are put together, a module per job."""
