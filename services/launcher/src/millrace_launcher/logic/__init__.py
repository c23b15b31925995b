"""What the launcher decides, and the words in which it explains. Pure."""
