"""What carries the decisions out."""
