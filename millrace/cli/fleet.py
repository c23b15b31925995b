"""`millrace join`, `nodes`, `processes`, `logs`, `targets`, `metrics`: the machines, and what runs on them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from millrace.cli.options import Bootstrap, Json, Launcher, examples
from millrace.cli.output import human_bytes, listing, print_json, say, stdout
from millrace.client.control import ControlClient
from millrace.client.node import start_node

app = typer.Typer()

PANEL: Final = "Nodes and processes"

_FIGURES: Final = (
    ("records/s", "done_rate", 1),
    ("dead letters/s", "dead_letter_rate", 1),
    ("lag", "lag", 1),
    ("p50 ms", "p50_ms", 1),
    ("p99 ms", "p99_ms", 1),
    ("memory MB", "memory_bytes", 1e6),
    ("cores", "cores", 1),
)


@app.command(
    epilog=examples(
        ("millrace join --bootstrap kafka:9092", "make this machine a node of the cluster"),
        ("millrace join --node b", "a second node on this machine"),
    ),
    rich_help_panel=PANEL,
)
def join(
    *,
    node: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the node.", show_default="the machine's")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of its REST API; 0 takes any.", show_default="9008, else any"),
    ] = None,
    bootstrap: Bootstrap = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder of the node. Default: MILLRACE_HOME, else ~/.millrace.")
    ] = None,
    json: Json = False,
) -> None:
    """Start a node's daemon on this machine, and return when it answers.

    It outlives the terminal; `millrace down` stops it. All nodes of a
    cluster show each other the same token: MILLRACE_LAUNCHER__TOKEN.
    """
    started = start_node(home, node=node, port=port, bootstrap=bootstrap)
    if json:
        print_json({"node": started.node, "pid": started.pid, "url": started.url})
    else:
        say(f"node {started.node} is up at {started.url} (process {started.pid})")


@app.command(epilog=examples(("millrace nodes", "what is there, and what is free?")), rich_help_panel=PANEL)
def nodes(*, launcher: Launcher = None, json: Json = False) -> None:
    """List the nodes: what each has, and what of it is given away."""
    with ControlClient(launcher) as control:
        found = control.nodes()
    if json:
        for node in found:
            print_json(node)
        return
    columns = ("node", "standing", "cores", "memory", "GPUs", "processes", "runner", "environment", "address")
    stdout().print(listing(columns, [_node_row(node) for node in found], numbers=("GPUs", "processes")))


@app.command(
    epilog=examples(("millrace processes", "what runs, and where?"), ("millrace processes --json", "for programs")),
    rich_help_panel=PANEL,
)
def processes(*, launcher: Launcher = None, json: Json = False) -> None:
    """List the processes: those that run, and how each slot's last one ended."""
    with ControlClient(launcher) as control:
        found = control.processes()
    if json:
        for process in found:
            print_json(process)
    elif found:
        rows = [[p["name"], p["node"], p["state"], str(p["pid"] or ""), p["url"], p["why"]] for p in found]
        columns = ("slot", "node", "state", "pid", "health", "why")
        stdout().print(listing(columns, rows, numbers=("pid",), whole=("slot", "node", "state", "pid")))
    else:
        say("nothing runs; deploy something: `millrace deploy`")


@app.command(
    epilog=examples(("millrace logs rain/scorer/0", "what it said last, also if it is dead")), rich_help_panel=PANEL
)
def logs(
    slot: Annotated[str, typer.Argument(help="DEPLOYMENT/KIND/NUMBER, as `millrace processes` shows it.")],
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="The most lines.")] = 100,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Show what the processes of a slot said, also after they ended."""
    with ControlClient(launcher) as control:
        found = control.logs(slot, lines=lines)
    for line in found:
        print_json({"slot": slot, "line": line}) if json else say(line)


@app.command(
    epilog=examples(("millrace series rain/scorer/0", "its last hour: rate, latency, lag, memory")),
    rich_help_panel=PANEL,
)
def series(
    slot: Annotated[str, typer.Argument(help="DEPLOYMENT/KIND/NUMBER, as `millrace processes` shows it.")],
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=720, help="The newest points.")] = 12,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Show how a process fared over the last hour, five seconds a line."""
    with ControlClient(launcher) as control:
        found = control.series(slot)
    if json:
        print_json(found)
    elif found["at_ms"]:
        columns = [(title, found.get(name), unit) for title, name, unit in _FIGURES]
        rows = [
            [_clock(at), *(_figure(values, row, unit) for _, values, unit in columns)]
            for row, at in enumerate(found["at_ms"])
        ]
        titles = ("time (UTC)", *(title for title, _, _ in columns))
        stdout().print(listing(titles, rows[-lines:], numbers=titles[1:], whole=titles[:1]))
    else:
        say(f"nothing is known of {slot} yet; see `millrace why {slot.partition('/')[0]}`")


@app.command(
    epilog=examples(("millrace targets --json", "what Prometheus reads at /v1/service-discovery")),
    rich_help_panel=PANEL,
)
def targets(*, launcher: Launcher = None, json: Json = False) -> None:
    """List what Prometheus finds: every daemon, and every process with metrics."""
    with ControlClient(launcher) as control:
        found = control.service_discovery()
    if json:
        print_json(found)
        return
    columns = ("node", "kind", "slot", "address")
    rows = [[*(each["labels"].get(name, "") for name in columns[:-1]), *each["targets"]] for each in found]
    stdout().print(listing(columns, rows, whole=columns))


@app.command(
    epilog=examples(
        ("millrace metrics rain/scorer/0", "of one process"), ("millrace metrics", "of the launcher itself")
    ),
    rich_help_panel=PANEL,
)
def metrics(
    slot: Annotated[
        str | None,
        typer.Argument(help="DEPLOYMENT/KIND/NUMBER, as `millrace processes` shows it.", show_default="the launcher"),
    ] = None,
    *,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Print metrics in Prometheus' text format; as JSON its lines, one object each."""
    with ControlClient(launcher) as control:
        found = control.metrics(slot)
    if json:
        for line in found.splitlines():
            print_json({"slot": slot, "line": line})
    else:
        typer.echo(found, nl=False)


@app.command(
    epilog=examples(("millrace ui", "the address for a browser; whoever has it may do what your key may do")),
    rich_help_panel=PANEL,
)
def ui(*, launcher: Launcher = None, json: Json = False) -> None:
    """Print the address of the web UI, with your key behind the #, which signs you in.

    A browser does not send what stands behind the #: it appears in no log.
    """
    with ControlClient(launcher) as control:
        address = control.sign_in_address()
    print_json({"url": address}) if json else say(address)


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S}"


def _figure(values: Sequence[float | None] | None, row: int, unit: float) -> str:
    value = values[row] if values else None
    return "" if value is None else f"{value / unit:,.4g}"


def _node_row(node: Mapping[str, Any]) -> list[str]:
    has = node["inventory"]
    return [
        node["node"],
        f"{node['standing']}, controller" if node["decides"] and node["standing"] == "up" else node["standing"],
        f"{node['cores_used']:g} of {has['cores']:g}",
        f"{human_bytes(node['memory_used_bytes'])} of {human_bytes(has['memory_bytes'])}",
        str(len(has["gpus"])),
        str(len(node["processes"])),
        has["runner"],
        has["environment"],
        node["url"],
    ]
