"""Numbers, times and lists as people read them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
"""Seconds and the name of each unit of time, the largest first."""

_DAY: Final = timedelta(days=1)


def duration(seconds: float) -> str:
    """A length of time in its largest unit that loses little.

    >>> [duration(seconds) for seconds in (0.25, 90, 3600, 129_600, 31_536_000)]
    ['0.25 s', '90 s', '1 h', '36 h', '365 d']
    """
    for size, name in UNITS:
        if seconds >= size and (seconds >= 10 * size or seconds % size == 0):
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:.3g} s"


def moment(at: datetime, size: timedelta = timedelta(0)) -> str:
    """A point in time, as fine as windows of this size need it.

    >>> from datetime import UTC
    >>> moment(datetime(2026, 1, 2, 3, 4, tzinfo=UTC)), moment(datetime(2026, 1, 2, tzinfo=UTC), timedelta(days=7))
    ('2026-01-02 03:04', '2026-01-02')
    """
    return f"{at:%Y-%m-%d}" if size >= _DAY else f"{at:%Y-%m-%d %H:%M}"


def number(value: float | None) -> str:
    """A figure with three digits that count; a dash where there is none.

    >>> number(0.81234), number(None), number(1234567.0), number(0.00001)
    ('0.812', '–', '1,234,567', '1e-05')
    """
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1g}"


def interval(value: float | None, lo: float | None, hi: float | None) -> str:
    """A figure and its interval.

    >>> interval(0.8, 0.78, 0.82), interval(0.8, None, None)
    ('0.800 (0.780 to 0.820)', '0.800')
    """
    return number(value) if lo is None or hi is None else f"{number(value)} ({number(lo)} to {number(hi)})"


def share(value: float | None) -> str:
    """A share in percent; a dash where there is none.

    >>> share(0.5), share(0.9999), share(1.0), share(None)
    ('50 %', '99.99 %', '100 %', '–')
    """
    if value is None:
        return "–"
    rounded = f"{value:.0%}" if value in {0.0, 1.0} or 0.005 <= value < 0.995 else f"{value:.2%}"
    return rounded.replace("%", " %")


def count(things: int, one: str, many: str = "") -> str:
    """So many of something.

    >>> count(1, "alert"), count(1200, "alert"), count(0, "query", "queries")
    ('1 alert', '1,200 alerts', 'no queries')
    """
    return f"{things:,} {one}" if things == 1 else f"{f'{things:,}' if things else 'no'} {many or f'{one}s'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names one after the other, the first few of many.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
