"""`millrace watch`."""

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import print_json, remark, stdout
from millrace.cli.watch_view import WatchView
from millrace.client import Client, Link, Prediction, Until, parse_start
from millrace.core.errors import InvalidRecordError
from millrace.core.records import Coordinates

app = typer.Typer()

_REDRAW_SECS: Final = 0.25
_HEAD_LINES: Final = 6


@app.command(
    epilog=examples(
        ("millrace watch rain", "predictions as they come; Ctrl-C ends"),
        ("millrace watch rain --since 10m", "begin with those of the last ten minutes"),
        ("millrace watch rain --since earliest --until-now | jq .outputs.label", "all there are, as JSON lines"),
        ("millrace watch rain --max 1", "wait for one"),
    ),
    rich_help_panel="Streams",
)
def watch(
    deployment: Annotated[str, typer.Argument(help="Deployment, or a predictions topic by its full name.")],
    *,
    since: Annotated[
        str,
        typer.Option(
            metavar="WHEN", help="Where to begin: latest, earliest, 30s, 10m, 2h, 1d ago, or a time in ISO 8601."
        ),
    ] = "latest",
    until_now: Annotated[bool, typer.Option("--until-now", help="Stop after what is there now.")] = False,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="Stop after so many predictions.")] = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Subscribe to the predictions of a deployment.

    A live table on a terminal, one JSON document a line in a pipe. Only
    committed predictions are shown. Latency is measured from the record's
    timestamp to its scoring.
    """
    console = stdout()
    view = WatchView(deployment, max(console.height - _HEAD_LINES, 5), time.monotonic())
    as_json = json or not console.is_terminal

    def on_invalid(at: Coordinates, error: InvalidRecordError) -> None:
        view.invalid += 1
        if as_json:
            remark(f"{at} is no prediction: {error.detail}")

    def on_link(link: Link) -> None:
        view.link = link
        if as_json:
            remark("the broker is away; waiting for it" if link is Link.AWAY else "the broker is back")

    arrivals = Client(bootstrap).subscribe(
        deployment,
        start=parse_start(since, datetime.now(UTC)),
        until=Until.NOW if until_now else Until.STOPPED,
        on_invalid=on_invalid,
        on_link=on_link,
    )
    arrivals = arrivals if maximum is None else _first(arrivals, maximum)
    try:
        if as_json:
            _write_lines(arrivals)
        else:
            _draw(console, view, arrivals)
    except KeyboardInterrupt:
        return


def _write_lines(arrivals: Iterator[Sequence[Prediction]]) -> None:
    for predictions in arrivals:
        for prediction in predictions:
            print_json(prediction.document())
        sys.stdout.flush()  # whoever reads the pipe waits for these lines


def _draw(console: Console, view: WatchView, arrivals: Iterator[Sequence[Prediction]]) -> None:
    drawn = view.started
    with Live(view.render(drawn), console=console, auto_refresh=False) as live:
        for predictions in arrivals:
            now = time.monotonic()
            view.add(predictions, now)
            if now - drawn >= _REDRAW_SECS:
                live.update(view.render(now), refresh=True)
                drawn = now
        live.update(view.render(time.monotonic()), refresh=True)


def _first(arrivals: Iterator[Sequence[Prediction]], count: int) -> Iterator[Sequence[Prediction]]:
    """The first `count` predictions."""
    for predictions in arrivals:
        yield predictions[:count]
        count -= len(predictions)
        if count <= 0:
            return
