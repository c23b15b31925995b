"""Finding the few rows that spoil a batch, without looking at each row of it."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from millrace.core.errors import RequestError

T = TypeVar("T")


def split_good(attempt: Callable[[slice], T | None], rows: int, *, leaf: int = 1) -> Iterator[tuple[slice, T | None]]:
    """Cut `rows` rows into consecutive slices, each of which either works or is too small to cut again.

    `attempt` is tried on everything first, so a batch without a bad row costs one call. With b bad rows it is called
    about `2 * b * log2(rows / leaf)` times. The slices come in order, touch, and cover every row once.

    Args:
        attempt: Works on a slice of the rows, or answers None. It must answer alike for the same rows.
        rows: How many rows there are; with none, nothing is attempted.
        leaf: A failing slice of at most this many rows is not cut again.

    Yields:
        Each slice with what `attempt` made of it; None for a failing slice of at most `leaf` rows.

    Raises:
        RequestError: `leaf` is less than 1.

    >>> good = lambda rows: range(rows.start, rows.stop) if not rows.start <= 5 < rows.stop else None
    >>> [(piece.start, piece.stop, made is not None) for piece, made in split_good(good, 8)]
    [(0, 4, True), (4, 5, True), (5, 6, False), (6, 8, True)]
    """
    if leaf < 1:
        raise RequestError(f"a bisection cannot stop at {leaf} rows", remedy="give a leaf of 1 row or more")
    pending = [slice(0, rows)] if rows else []
    while pending:
        piece = pending.pop()
        made = attempt(piece)
        size = piece.stop - piece.start
        if made is not None or size <= leaf:
            yield piece, made
        else:
            middle = piece.start + size // 2
            pending += [slice(middle, piece.stop), slice(piece.start, middle)]
