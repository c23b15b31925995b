import pytest

from millrace.codec.nesting import count_byte, deepest


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b"", 0),
        (b"17", 0),
        (b"{}", 1),
        (b'{"a":[{"b":[]}]}', 4),
        (b'["[[[["]', 1),
        (b'["\\"[[[["]', 1),
        (b'["\\\\",[[]]]', 3),
        (b'["\\\\\\"[[",[]]', 2),
        (b"[" * 10_000, 10_000),
        (b"]]]][[", 0),
    ],
)
def test_depth(text: bytes, depth: int) -> None:
    assert deepest(text) == depth


def test_count_byte() -> None:
    assert count_byte(b"abcabc", b"a") == 2
    assert count_byte(b"", b"a") == 0
