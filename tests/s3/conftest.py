"""These tests are collected by `make test-s3`, which has an S3 server; elsewhere there is none to run."""

import os

collect_ignore_glob = [] if os.environ.get("MILLRACE_VERSITYGW") else ["test_*.py"]
