"""The REST API: what the command line and every other interface calls."""
