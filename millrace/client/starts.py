"""Where to begin reading, as people write it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from millrace.core.errors import RequestError
from millrace.kafka.reading import Position, Start

_AGO: Final = re.compile(r"(?P<count>\d+)(?P<unit>[smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_start(text: str, now: datetime) -> Start:
    """Read `earliest`, `latest`, a time (ISO 8601, UTC without a zone), or a time ago: `30s`, `10m`, `2h`, `1d`, `1w`.

    Raises:
        RequestError: It is none of these.
    """
    if text in set(Position):
        return Position(text)
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago["unit"]]: int(ago["count"])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(
            f"{text!r} is no place to begin",
            remedy="write earliest, latest, 10m (ten minutes ago) or a time such as 2026-11-23T12:00:00Z",
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
