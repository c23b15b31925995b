"""An imaginary broker in memory: partitions, consumer groups, transactions, and processes that stop at any point.

Nothing here runs by itself. There are no threads and no clock but the one that is handed in, so that a test, or a
simulation with a seed, decides everything that happens and can make it happen again. It is as strict as Kafka where a
lane depends on it (fencing, pending offsets, stable reads), and as lenient where a lane must not depend on it: it takes
the offsets of any member of the group, whoever owns the partition.
"""

from millrace.testing.memory.client import CrashedError, MemoryClient, Point, memory_lane
from millrace.testing.memory.log import MemoryLog, StoredRecord

__all__ = ["CrashedError", "MemoryClient", "MemoryLog", "Point", "StoredRecord", "memory_lane"]
