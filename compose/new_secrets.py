"""Writes the stack's secrets to standard output, as lines of an environment file: new ones at each call."""

import secrets
import sys

NAMES = ("MILLRACE_LAUNCHER__TOKEN", "GRAFANA_PASSWORD")

sys.stdout.writelines(f"{name}={secrets.token_urlsafe(32)}\n" for name in NAMES)
