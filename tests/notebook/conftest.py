"""These tests are collected by `make test-notebook`, whose environment has JupyterLab."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("jupyterlab") else ["test_*.py"]
