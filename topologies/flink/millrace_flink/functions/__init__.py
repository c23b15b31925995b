"""What the jobs decide: columns in, columns out. Nothing here knows Flink, but for the modules named after it."""
