"""What a sink of the web decides without any web."""

from datetime import UTC, datetime, timedelta

import pytest

from millrace.client.copying.http_sink import page_key, retry_after

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta()),
        ("9" * 5_000, timedelta(seconds=999_999_999)),
        ("Sun, 01 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Sun, 01 Nov 2026 11:00:00 GMT", timedelta()),
        ("Sun, 01 Nov 2026 12:00:30 -0000", timedelta(seconds=30)),
        ("", None),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, expected: timedelta | None) -> None:
    assert retry_after(header, NOW) == expected


def test_a_key_is_of_the_copy_and_of_both_ends_of_its_page() -> None:
    first, second = {"next": {"0": 1, "1": 5}}, {"next": {"0": 7, "1": 5}}
    key = page_key("copy", first, second)
    assert key == page_key("copy", {"next": {"1": 5, "0": 1}}, second)
    assert (
        len({key, page_key("other", first, second), page_key("copy", None, second), page_key("copy", first, first)})
        == 4
    )
