"""The hashes of Kafka's own test."""

import numpy as np

from millrace.core.partitioner import murmur2, partitions_of_keys

KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def test_the_hashes_are_those_of_the_java_client() -> None:
    assert murmur2(list(KNOWN)).view(np.int32).tolist() == list(KNOWN.values())


def test_no_keys_and_an_empty_key() -> None:
    assert murmur2([]).tolist() == []
    assert murmur2([b"", b""]).view(np.int32).tolist() == [275646681, 275646681]


def test_partitions_do_not_depend_on_neighbours() -> None:
    keys = [b"x" * size + bytes([size]) for size in range(40)]
    together = partitions_of_keys(keys, 7).tolist()
    assert together == [partitions_of_keys([key], 7).item() for key in keys]
    assert set(together) <= set(range(7))
