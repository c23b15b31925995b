"""How a table lies in the online store: the newest value of each key of a topic, and how far the topic was read.

    millrace:{TOPIC}            a hash: `topic` (its id), `partitions`, `filling`, `next:P` and `target:P` by partition
    millrace:{TOPIC}:KEY        `PARTITION OFFSET TIMESTAMP`, a line feed, the value as its record has it

The first line makes a value traceable, and readable by any client. The braces put a table into one slot of a cluster.
`filling` counts the partitions that have not yet been read to where they ended when their reading began: while it is
not 0, a key that is absent may only not have been read yet.
"""

from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter, methodcaller
from typing import Final

import numpy as np

from millrace.core.errors import FatalError
from millrace.core.records import RecordBatch

FILLING: Final = "filling"

_HEAD: Final = itemgetter(0)
_BODY: Final = itemgetter(2)
_CUT: Final = methodcaller("partition", b"\n")


def table_key(namespace: str, topic: str) -> bytes:
    """The key of the table's own hash."""
    return f"{namespace}:{{{topic}}}".encode()


def value_keys(namespace: str, topic: str, keys: Sequence[bytes]) -> list[bytes]:
    """The keys under which the values of these record keys lie."""
    return list(map((table_key(namespace, topic) + b":").__add__, keys))


def encode_values(records: RecordBatch) -> list[bytes]:
    """What to store of each record; none of them a tombstone."""
    columns = (records.partitions.tolist(), records.offsets.tolist(), records.timestamps_ms.tolist(), records.values)
    return list(map(b"%d %d %d\n%b".__mod__, zip(*columns, strict=True)))


def decode_values(topic: str, keys: Sequence[bytes], stored: Sequence[bytes]) -> RecordBatch:
    """The records that were stored under these record keys, as a batch in the order of the keys.

    Raises:
        FatalError: A value is none that `encode_values` wrote.
    """
    parts = list(map(_CUT, stored))
    words = b" ".join(map(_HEAD, parts)).split()
    try:
        places = np.array(words, np.bytes_).astype(np.int64).reshape(len(stored), 3)
    except ValueError:
        raise FatalError(
            f"the online store holds values of the table {topic} that no materializer wrote",
            remedy="give millrace a database or a MILLRACE_REDIS__NAMESPACE of its own",
        ) from None
    count = len(stored)
    return RecordBatch(
        topic,
        places[:, 0].astype(np.int32),
        np.ascontiguousarray(places[:, 1]),
        np.ascontiguousarray(places[:, 2]),
        keys,
        list(map(_BODY, parts)),
        list(repeat(None, count)),
    )
