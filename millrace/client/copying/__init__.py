"""Copying between topics, files, tables, pages of the web and Redis streams, restartable without repeats or gaps."""
