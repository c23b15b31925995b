"""The records of `millrace.jobs`."""

from typing import Final

from millrace.core.control.jobs import Job
from millrace.process.fleet import FleetRecord

JOBS: Final = FleetRecord(Job)
"""Records of `millrace.jobs`; the key is the job's name."""
