import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from millrace.core.errors import RequestError
from millrace.telemetry.logs import HIDDEN, configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is global: give back what other tests had."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_elsewhere_than_on_a_terminal_a_line_is_json() -> None:
    stream = io.StringIO()
    configure(environ={}, stream=stream, constants={"deployment": "rain"})
    structlog.get_logger().info("model loaded", version=3)
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "event": "model loaded", "version": 3, "deployment": "rain"}


def test_on_a_terminal_it_is_for_people_in_colour() -> None:
    stream = Terminal()
    configure(environ={}, stream=stream)
    structlog.get_logger().info("model loaded", version=3)
    assert "\x1b[" in stream.getvalue()


@pytest.mark.parametrize(("environ", "stream"), [({"NO_COLOR": "1"}, Terminal()), ({}, io.StringIO())])
def test_no_colour_where_it_is_not_wanted(environ: dict[str, str], stream: io.StringIO) -> None:
    configure(environ=environ, stream=stream, format="console")
    structlog.get_logger().info("model loaded", version=3)
    assert "model loaded" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()


def test_secrets_are_hidden_however_deep() -> None:
    stream = io.StringIO()
    configure(environ={}, stream=stream)
    structlog.get_logger().info(
        "connecting",
        sasl_password="sesame",  # noqa: S106 -- what must not come out
        client={"sasl.password": "sesame", "ssl.key.password": "sesame", "group.id": "g"},
        several=[{"api_key": "sesame"}, ({"Authorization": "sesame"},)],
        registry="https://me:sesame@registry.example/x",
        password=None,
    )
    (line,) = lines(stream)
    assert "sesame" not in stream.getvalue()
    assert line["client"] == {"sasl.password": HIDDEN, "ssl.key.password": HIDDEN, "group.id": "g"}
    assert line["registry"] == f"https://{HIDDEN}@registry.example/x"
    assert line["password"] is None


def test_what_is_nested_without_end_is_cut() -> None:
    stream = io.StringIO()
    configure(environ={}, stream=stream)
    endless: dict[str, object] = {}
    endless["self"] = endless
    structlog.get_logger().info("odd", value=endless)
    assert '"..."' in stream.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure(environ={}, stream=stream, level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_other_libraries_come_out_alike() -> None:
    stream = io.StringIO()
    configure(environ={}, stream=stream)
    logging.getLogger("somebody").warning("foreign %s", "line", extra={"token": "sesame"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("beware", stacklevel=1)
    first, second = lines(stream)
    assert (first["event"], first["level"], first["token"]) == ("foreign line", "warning", HIDDEN)
    assert "beware" in second["event"]


def test_what_other_libraries_debug_is_not_written() -> None:
    stream = io.StringIO()
    configure(level="debug", environ={}, stream=stream)
    logging.getLogger("websockets.server").debug("< Authorization: Bearer %s", "sesame")
    logging.getLogger("websockets.server").info("connection open")
    structlog.get_logger().debug("ours")
    assert [line["event"] for line in lines(stream)] == ["connection open", "ours"]


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_is_kept_without_local_variables(format: str) -> None:  # noqa: A002
    stream = io.StringIO()
    configure(environ={}, stream=stream, format=format)
    unlucky = "sesame"
    try:
        raise ValueError(len(unlucky))
    except ValueError:
        structlog.get_logger().exception("bug")
        logging.getLogger("somebody").exception("foreign bug")
    assert stream.getvalue().count("ValueError: 6") == 2
    assert '"sesame"' not in stream.getvalue().replace('unlucky = "sesame"', "")


@pytest.mark.parametrize(("level", "format"), [("loud", "json"), ("info", "xml")])
def test_unknown_settings_are_refused(level: str, format: str) -> None:  # noqa: A002
    with pytest.raises(RequestError, match="levels are debug"):
        configure(environ={}, stream=io.StringIO(), level=level, format=format)
