"""One module per generated document. Each has a function that returns the whole text."""
