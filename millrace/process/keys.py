"""The records of `millrace.keys`."""

from typing import Final

from millrace.core.control.keys import ApiKey
from millrace.process.fleet import FleetRecord

KEYS: Final = FleetRecord(ApiKey)
"""Records of `millrace.keys`; the key is the key's name."""
