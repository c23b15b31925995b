"""`millrace retrain`: ask for a better version of a model."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import print_json, remark, stdout
from millrace.client import Client, LoopAnswer, Requested, Until, parse_start
from millrace.core.errors import RequestError

app = typer.Typer()


@app.command(
    rich_help_panel="Models",
    epilog=examples(
        ("millrace retrain weather", "ask, and say what the request is called"),
        ("millrace retrain weather --since 52w --wait", "learn from the last year, and wait for the answer"),
    ),
)
def retrain(
    model: Annotated[str, typer.Argument(help="The model; its champion is what a candidate must beat.")],
    *,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Learn from no older records: 4w, 2h, or a time.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show each step of the answer, until the last.")] = False,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Ask the trainer of a model for a better version.

    The request is a record of millrace.retrain-requests, and so is every
    step of the answer. The trainer takes one request at a time.
    """
    client = Client(bootstrap)
    request = client.retrain(model, since=None if since is None else _time(since))
    _show(request, json=json)
    if not wait:
        return
    remark("waiting for the trainer; Ctrl-C stops the waiting, not the training")
    for record in client.retrain_requests(model, loop_id=request.loop_id, until=Until.STOPPED):
        if not isinstance(record, Requested):
            _show(record, json=json)


def _time(text: str) -> datetime:
    found = parse_start(text, datetime.now(UTC))
    if not isinstance(found, datetime):
        raise RequestError(f"{text!r} is no time", remedy="write for example 4w, or 2026-11-23T12:00:00Z")
    return found


def _show(record: Requested | LoopAnswer, *, json: bool) -> None:
    if json:
        print_json(record.model_dump(mode="json", by_alias=True, exclude_none=True))
        return
    step = record.type.split(".")[1]
    said = f"loop {record.loop_id}" if isinstance(record, Requested) else getattr(record, "why", "")
    stdout().print(Text.assemble((f"{step:<10}", "bold"), f"{record.model}/{record.version}  {said}"), soft_wrap=True)
