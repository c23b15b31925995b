"""What carries decisions out: processes, topics, HTTP."""
