"""Structured logs on standard error: JSON lines for machines, coloured lines for a person on a terminal.

`configure` is called once, by a composition root. Everybody else does `log = structlog.get_logger()` and writes an
event, a short constant sentence, with values beside it: `log.info("model loaded", model="rain", version=3)`.
Lines of other libraries (standard library `logging`, `warnings`) come out in the same shape, but never their debugging:
they would write whole requests there, with the keys in them.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from millrace.core.errors import RequestError

HIDDEN: Final = "***"
"""Stands where a secret was."""

_SECRET_KEY: Final = re.compile(
    r"passw|secret|token|api[_.-]?key|credential|authoriz?ation|cookie|private[_.-]?key|sasl\.jaas", re.IGNORECASE
)
_URL_USER: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_DEEPEST: Final = 8


def configure(
    *,
    level: str = "info",
    format: str = "auto",  # noqa: A002 -- the setting's name
    environ: Mapping[str, str],
    stream: TextIO | None = None,
    constants: Mapping[str, object] | None = None,
) -> None:
    """Set up logging for this process. Calling it again replaces the set-up.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        format: `json`, `console`, or `auto`: for people when the stream is a terminal, else JSON.
        environ: The environment; NO_COLOR in it turns colours off.
        stream: Where lines go; standard error if None.
        constants: Put on every line, for example the deployment's name.

    Raises:
        RequestError: Unknown level or format.
    """
    target = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None or format not in {"auto", "json", "console"}:
        raise RequestError(
            f"logs cannot have level {level!r} and format {format!r}",
            remedy="levels are debug, info, warning, error; formats are auto, json, console",
        )
    is_terminal = target.isatty()
    for_people = format == "console" or (format == "auto" and is_terminal)
    fixed = dict(constants or {})

    def add_constants(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {**fixed, **event}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_constants,
        redact,
    ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(for_people=for_people, colors=is_terminal and "NO_COLOR" not in environ),
            ],
        )
    )
    handler.addFilter(_is_no_debugging_of_others)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(threshold)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _is_no_debugging_of_others(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or hasattr(record, "_logger")  # which structlog gives its own


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor: hides values whose key names a secret, and the user part of URLs, however deep."""
    return {key: _redacted(key, value, _DEEPEST) for key, value in event.items()}


def _redacted(key: str, value: Any, depth: int) -> Any:  # noqa: ANN401 -- whatever somebody logs
    if _SECRET_KEY.search(key) and value is not None:
        return HIDDEN
    match value:
        case str():
            return _URL_USER.sub(HIDDEN, value)
        case Mapping() | list() | tuple() if depth == 0:
            return "..."
        case Mapping():
            return {str(inner): _redacted(str(inner), held, depth - 1) for inner, held in value.items()}
        case list() | tuple():
            items = [_redacted("", held, depth - 1) for held in value]
            return tuple(items) if isinstance(value, tuple) else items  # `exc_info` must stay a tuple
        case _:
            return value


def _renderers(*, for_people: bool, colors: bool) -> list[Processor]:
    if for_people:
        # The rich traceback would print local variables, and with them secrets.
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
    return [_lead, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]


def _lead(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {key: event[key] for key in ("timestamp", "level", "event") if key in event} | dict(event)


def _json(event: object, **_: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()
