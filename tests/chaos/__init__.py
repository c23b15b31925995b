"""Real scorers, killed and frozen while they score; nothing may be lost, twice, or out of order."""
