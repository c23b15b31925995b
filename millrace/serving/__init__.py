"""Models: bundles, the registry, admission, runtimes, export."""
