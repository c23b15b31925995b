"""Callers who are known to an identity provider: the tokens that they show, and the keys that these are signed with."""
