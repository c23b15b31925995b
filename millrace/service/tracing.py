"""Whether a process traces, and where its spans go."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from millrace.core.errors import RequestError
from millrace.process.settings import TraceSettings

if TYPE_CHECKING:
    from millrace.telemetry.spans import Tracing


def open_tracing(service: str, settings: TraceSettings, stack: ExitStack) -> "Tracing | None":
    """Trace as the settings say, until `stack` closes; None where they say nothing.

    Raises:
        RequestError: Traces are asked for, and OpenTelemetry is not installed.
    """
    if settings.endpoint is None:
        return None
    try:
        from millrace.telemetry.spans import Tracing  # noqa: PLC0415 -- an extra, and half a second at the start
    except ImportError as error:
        raise RequestError(
            "traces are asked for, and OpenTelemetry is not installed",
            remedy="install it: pip install 'millrace[traces]'; or unset MILLRACE_TRACES__ENDPOINT",
        ) from error
    return stack.enter_context(Tracing.to(settings.endpoint, service=f"millrace-{service}"))
