"""The test kit: local broker fixture, in-memory log, manual clock, contract suites.

The fixtures `broker` and `topic` come by themselves: millrace is a pytest plugin. What needs a Kafka client is imported
from its module, so that a run without a broker does not pay for one.
"""

from millrace.testing.clock import ManualClock
from millrace.testing.waiting import Deadline, eventually

__all__ = ["Deadline", "ManualClock", "eventually"]
