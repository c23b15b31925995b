"""Documents of the repository, and the generator of those that would drift if people wrote them."""
