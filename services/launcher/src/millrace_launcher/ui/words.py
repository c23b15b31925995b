"""Numbers, times and states as a person reads them."""

from datetime import UTC, datetime
from typing import Final

_SIZES: Final = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
LONGEST_MS: Final = 60_000
"""The last bound of the histogram of latencies: how much longer one was, nobody counts."""
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))

TONES: Final = {
    "ready": "good",
    "up": "good",
    "starting": "busy",
    "draining": "busy",
    "leaving": "busy",
    "waiting": "warn",
    "silent": "warn",
    "failed": "bad",
    "invalid": "bad",
    "lost": "bad",
    "stopped": "still",
    "left": "still",
    "ended": "still",
}
"""The colour of each state; the word stands beside it everywhere, for who sees no colours."""


def tone(state: str) -> str:
    """The colour of a state; that of rest for one that is not known."""
    return TONES.get(state, "still")


def number(value: float | None, *, unit: str = "") -> str:
    """A number with as many digits as help; a dash where there is none.

    >>> number(12345.6), number(12.34), number(0.5), number(None), number(0, unit="/s")
    ('12,346', '12.3', '0.5', '–', '0 /s')
    """
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def rate(value: float | None) -> str:
    """Records a second.

    >>> rate(1234.5), rate(None)
    ('1,234 /s', '–')
    """
    return number(value, unit="/s") if value is not None else "–"


def milliseconds(value: float | None) -> str:
    """A duration that was measured in milliseconds.

    >>> milliseconds(4.26), milliseconds(1250), milliseconds(90_000), milliseconds(None)
    ('4.3 ms', '1.25 s', '90 s', '–')
    """
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.3g} s"
    if not value:
        return "0 ms"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def latency(value: float | None) -> str:
    """A latency in milliseconds; beyond the longest that is told apart, it is that long or longer.

    >>> latency(12), latency(60_000), latency(None)
    ('12 ms', '≥ 60 s', '–')
    """
    said = milliseconds(value)
    return f"≥ {said}" if value is not None and value >= LONGEST_MS else said


def size(count: float | None) -> str:
    """Bytes.

    >>> size(1_500_000), size(12), size(None)
    ('1.5 MB', '12 B', '–')
    """
    if count is None:
        return "–"
    for name, unit in _SIZES:
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def span(secs: float) -> str:
    """A duration, roughly.

    >>> span(12), span(150), span(7200), span(200_000)
    ('12 s', '2 min', '2 h', '2 d')
    """
    for unit, name in _SPANS:
        if secs >= unit:
            return f"{secs // unit:.0f} {name}"
    return f"{max(secs, 0):.0f} s"


def moment(at_ms: float) -> str:
    """A point in time.

    >>> moment(0)
    '1970-01-01 00:00:00'
    """
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def day_and_minute(text: str) -> str:
    """A time in ISO 8601, to the minute.

    >>> day_and_minute("2026-01-02T03:04:05Z")
    '2026-01-02 03:04'
    """
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def share(value: float | None) -> str:
    """A share of one, as percent.

    >>> share(0.1234), share(1), share(None)
    ('12.3 %', '100 %', '–')
    """
    return "–" if value is None else f"{100 * value:.3g} %"
