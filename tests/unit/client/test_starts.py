from datetime import UTC, datetime, timedelta

import pytest

from millrace.client.starts import parse_start
from millrace.core.errors import RequestError
from millrace.kafka.reading import Position

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_words() -> None:
    assert parse_start("earliest", NOW) is Position.EARLIEST
    assert parse_start("latest", NOW) is Position.LATEST


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_times_ago(text: str, ago: timedelta) -> None:
    assert parse_start(text, NOW) == NOW - ago


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert parse_start("2026-11-23", NOW) == datetime(2026, 11, 23, tzinfo=UTC)
    assert parse_start("2026-11-23T12:00:00Z", NOW) == NOW
    assert parse_start("2026-11-23T13:00:00+01:00", NOW) == NOW


@pytest.mark.parametrize("text", ["", "now", "10", "m10", "-5m", "yesterday"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no place to begin"):
        parse_start(text, NOW)
