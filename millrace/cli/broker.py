"""`millrace up`, `down` and `status`: the local broker, the local online store and this machine's nodes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from millrace.cli.deploy import show_deployment
from millrace.cli.options import Bootstrap, Json, Launcher, examples
from millrace.cli.output import facts, print_json, progress, say, stdout
from millrace.client import BrokerStatus, Progress, Stage, broker_status, start_broker, stop_broker
from millrace.client.control import ControlClient
from millrace.client.node import NodeStatus, has_launcher, local_nodes, start_node, stop_node
from millrace.client.online import redis_status, start_redis, stop_redis

app = typer.Typer()

_PANEL: Final = "This machine"

_STAGES: Final = {
    Stage.RESOLVING: "finding the broker's parts",
    Stage.DOWNLOADING: "fetching the broker's parts",
    Stage.FORMATTING: "preparing the data folder",
    Stage.STARTING: "waiting for the broker",
}

Home = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the broker and the node. Default: MILLRACE_HOME, else ~/.millrace.", show_default=False
    ),
]


@app.command(
    epilog=examples(
        ("millrace up", "the first start fetches Kafka, about a minute; later ones take seconds"),
        ("millrace up --port 9092", "where other programs expect a Kafka"),
        ("millrace up --redis", "and a real Valkey, for features and predictions by key"),
        ("millrace up --bootstrap kafka:9092", "no broker here: a node of that cluster"),
        ("MILLRACE_HOME=/tmp/try millrace up", "a broker of its own, to throw away"),
    ),
    rich_help_panel=_PANEL,
)
def up(
    *,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port for clients. Default: the latest, else a free one.")
    ] = None,
    broker_only: Annotated[bool, typer.Option("--broker-only", help="Start no node.")] = False,
    redis: Annotated[bool, typer.Option("--redis", help="Start an online store (Valkey), too.")] = False,
    home: Home = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Start a real Kafka and a node on this machine, and return when they answer.

    Needs no Java, no Docker and no rights. The data outlives the broker,
    and broker and node outlive the terminal; started twice they are one of
    each. Other commands find them without being told. The node runs what is
    deployed; it comes with the package millrace-launcher.
    """
    if redis:
        start_redis(home)
    if bootstrap is not None:
        _show_nodes([start_node(home, bootstrap=bootstrap)], json=json)
        return
    with _stages() as told:
        status = start_broker(home, port=port, on_progress=told)
    nodes = [start_node(home, bootstrap=status.bootstrap)] if has_launcher() and not broker_only else []
    _show(status, nodes, home, json=json)


@app.command(
    epilog=examples(("millrace down", "stop; `millrace up` goes on with the same data")), rich_help_panel=_PANEL
)
def down(*, home: Home = None, json: Json = False) -> None:
    """Stop this machine's nodes, the local broker and the local online store, and keep the data.

    A node drains what it runs before it stops.
    """
    nodes = [stop_node(home, node=node.node) for node in local_nodes(home)]
    redis = stop_redis(home)
    stopped = stop_broker(home)
    if json:
        names = [node.node for node in nodes]
        print_json({"stopped": stopped.running, "pid": stopped.pid, "nodes": names, "redis": redis.pid})
        return
    if redis.running:
        say(f"online store stopped (process {redis.pid})")
    for node in nodes:
        say(f"node {node.node} stopped (process {node.pid})")
    say(f"stopped (process {stopped.pid})" if stopped.running else "no local broker was running")


@app.command(
    epilog=examples(
        ("millrace status", "what runs here, and where?"),
        ("millrace status rain", "how does a deployment fare?"),
        ("kcat -L -b $(millrace status --json | jq -r .bootstrap)", "use the broker with other tools"),
    ),
    rich_help_panel=_PANEL,
)
def status(
    name: Annotated[
        str | None, typer.Argument(metavar="DEPLOYMENT", help="This deployment, instead of this machine.")
    ] = None,
    *,
    home: Home = None,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Say whether the local broker and nodes run, and where; or how a deployment fares."""
    if name is None:
        _show(broker_status(home), local_nodes(home), home, json=json)
        return
    with ControlClient(launcher, home=home) as control:
        show_deployment(control, name, json=json)


def _show(status: BrokerStatus, nodes: Sequence[NodeStatus], home: Path | None, *, json: bool) -> None:
    redis = redis_status(home)
    if json:
        urls = {node.node: node.url for node in nodes}
        print_json({**status_document(status), "nodes": urls, "redis": redis.url if redis.running else None})
        return
    store = {"online store": f"{redis.url}, process {redis.pid}"} if redis.running else {}
    stdout().print(facts({**status_facts(status, datetime.now(UTC)), **store, **node_facts(nodes)}))


def _show_nodes(nodes: Sequence[NodeStatus], *, json: bool) -> None:
    if json:
        print_json({"nodes": {node.node: node.url for node in nodes}})
    else:
        stdout().print(facts(node_facts(nodes)))


def node_facts(nodes: Sequence[NodeStatus]) -> dict[str, str]:
    """The nodes for a person."""
    return {f"node {node.node}": f"{node.url}, process {node.pid}" for node in nodes}


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
