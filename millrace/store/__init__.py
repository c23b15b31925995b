"""Blobs by URI."""
