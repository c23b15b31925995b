"""`millrace up`, `down` and `status`: the local broker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from millrace.cli.options import Json, examples
from millrace.cli.output import facts, print_json, progress, say, stdout
from millrace.client import BrokerStatus, Progress, Stage, broker_status, start_broker, stop_broker

app = typer.Typer()

_PANEL: Final = "Local broker"

_STAGES: Final = {
    Stage.RESOLVING: "finding the broker's parts",
    Stage.DOWNLOADING: "fetching the broker's parts",
    Stage.FORMATTING: "preparing the data folder",
    Stage.STARTING: "waiting for the broker",
}

Home = Annotated[
    Path | None,
    typer.Option(help="Folder of the broker's data. Default: MILLRACE_HOME, else ~/.millrace.", show_default=False),
]


@app.command(
    epilog=examples(
        ("millrace up", "the first start fetches Kafka, about a minute; later ones take seconds"),
        ("millrace up --port 9092", "where other programs expect a Kafka"),
        ("MILLRACE_HOME=/tmp/try millrace up", "a broker of its own, to throw away"),
    ),
    rich_help_panel=_PANEL,
)
def up(
    *,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port for clients. Default: the latest, else a free one.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Start a real Kafka on this machine, and return when it answers.

    Needs no Java, no Docker and no rights. The data outlives the broker and
    the broker outlives the terminal; started twice it is one broker. Other
    commands find it without being told.
    """
    with _stages() as told:
        status = start_broker(home, port=port, on_progress=told)
    _show(status, json=json)


@app.command(
    epilog=examples(("millrace down", "stop; `millrace up` goes on with the same data")), rich_help_panel=_PANEL
)
def down(*, home: Home = None, json: Json = False) -> None:
    """Stop the local broker and keep its data."""
    stopped = stop_broker(home)
    if json:
        print_json({"stopped": stopped.running, "pid": stopped.pid})
    else:
        say(f"stopped (process {stopped.pid})" if stopped.running else "no local broker was running")


@app.command(
    epilog=examples(
        ("millrace status", "is it running, and where?"),
        ("kcat -L -b $(millrace status --json | jq -r .bootstrap)", "use it with other tools"),
    ),
    rich_help_panel=_PANEL,
)
def status(*, home: Home = None, json: Json = False) -> None:
    """Say whether the local broker runs, and where clients connect."""
    _show(broker_status(home), json=json)


def _show(status: BrokerStatus, *, json: bool) -> None:
    if json:
        print_json(status_document(status))
    else:
        stdout().print(facts(status_facts(status, datetime.now(UTC))))


def status_document(status: BrokerStatus) -> dict[str, object]:
    """The status as JSON values."""
    return {
        "running": status.running,
        "bootstrap": status.bootstrap,
        "pid": status.pid,
        "started_at": status.started_at.isoformat() if status.started_at else None,
        "kafka": status.version,
        "cluster_id": status.cluster_id,
        "home": str(status.home),
    }


def status_facts(status: BrokerStatus, now: datetime) -> dict[str, str]:
    """The status for a person, who wants to know the address and not much else."""
    if not status.running:
        return {"broker": "not running; start it with `millrace up`", "home": str(status.home)}
    since = f" for {duration(now - status.started_at)}" if status.started_at else ""
    return {
        "broker": f"running{since}, process {status.pid}",
        "address": status.bootstrap or "",
        "kafka": f"{status.version}, cluster {status.cluster_id}",
        "home": str(status.home),
    }


def duration(span: timedelta) -> str:
    """A duration in its two largest units: `2 h 5 min`."""
    secs = int(span.total_seconds())
    parts = [(secs // 86400, "d"), (secs // 3600 % 24, "h"), (secs // 60 % 60, "min"), (secs % 60, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0 s"


@contextmanager
def _stages() -> Iterator[Callable[[Progress], None]]:
    """Shows the stages of a start on stderr, where that is a terminal."""
    with progress("{task.fields[count]}") as bar:
        task = bar.add_task("starting", total=None, count="")

        def told(stage: Progress) -> None:
            count = f"{stage.done}/{stage.total}" if stage.total else (f"{stage.done} files" if stage.done else "")
            bar.update(task, description=_STAGES[stage.stage], completed=stage.done, total=stage.total, count=count)

        yield told
