from hypothesis import given
from hypothesis import strategies as st

from millrace.core.bisection import split_good


@given(st.integers(0, 300), st.sets(st.integers(0, 299)), st.integers(1, 40))
def test_slices_cover_every_row_once_and_isolate_the_bad_ones(rows: int, bad: set[int], leaf: int) -> None:
    def attempt(piece: slice) -> list[int] | None:
        members = list(range(piece.start, piece.stop))
        return None if bad.intersection(members) else members

    pieces = list(split_good(attempt, rows, leaf=leaf))
    assert [row for piece, _ in pieces for row in range(piece.start, piece.stop)] == list(range(rows))
    for piece, made in pieces:
        members = list(range(piece.start, piece.stop))
        assert made == (None if bad.intersection(members) else members)
        assert made is not None or len(members) <= leaf
