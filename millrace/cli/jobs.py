"""`millrace launch` and `millrace job`: processes beside the deployments, and what becomes of them."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from millrace.cli.options import Json, Launcher, examples
from millrace.cli.output import listing, print_json, say, stdout
from millrace.client.control import ControlClient
from millrace.core.errors import RequestError

app = typer.Typer()
_job = typer.Typer(no_args_is_help=True, help="Follow launched processes, read what they said, end them.")

PANEL: Final = "Nodes and processes"

app.add_typer(
    _job,
    name="job",
    epilog=examples(("millrace job status", "how do they fare?"), ("millrace job cancel windows", "end one")),
    rich_help_panel=PANEL,
)

Kind = Annotated[str, typer.Argument(help="batch, notebook, python, or a kind that a package adds.")]
Arguments = Annotated[
    list[str] | None, typer.Argument(metavar="-- ARGUMENTS...", help="Of the process; after two hyphens.")
]
Name = Annotated[str, typer.Argument(metavar="JOB", help="As `millrace launch` printed it.")]
Id = Annotated[str | None, typer.Option("--name", metavar="JOB", help="Its id.", show_default="a new one")]
Environment = Annotated[
    str, typer.Option(metavar="FOLDER", help="Python environment that runs it, on the node.", show_default="the node's")
]
Folder = Annotated[str, typer.Option(metavar="FOLDER", help="Where it is started.", show_default="as the daemon was")]
Variables = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An environment variable; may be repeated.")
]
Cores = Annotated[float, typer.Option(min=0.01, help="Processor cores that are set aside.")]
Memory = Annotated[int, typer.Option(min=64, help="Most memory, MiB.")]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs of its own.")]


@app.command(
    epilog=examples(
        ("millrace launch notebook", "JupyterLab, where it is installed"),
        ("millrace launch batch -- run --model rain --input years --output scored", "score files, on some node"),
        ("millrace launch python --environment /opt/flink -- -m millrace_flink.jobs.score", "a program of an engine"),
    ),
    rich_help_panel=PANEL,
)
def launch(
    kind: Kind,
    arguments: Arguments = None,
    *,
    name: Id = None,
    environment: Environment = "",
    folder: Folder = "",
    variables: Variables = None,
    cores: Cores = 0.5,
    memory_mb: Memory = 1024,
    gpus: Gpus = 0,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Start a process on some node, and print its id.

    A batch or a program runs to its end and is not started again; a
    notebook or a service is kept running until it is cancelled.
    """
    document = {
        "kind": kind,
        "name": name,
        "arguments": arguments or [],
        "environment": environment,
        "folder": folder,
        "variables": dict(map(_variable, variables or [])),
        "needs": {"cores": cores, "memory_bytes": memory_mb << 20, "gpus": gpus},
    }
    submit_job(document, launcher=launcher, json=json)


@_job.command(
    name="status",
    epilog=examples(
        ("millrace job status", "all of them"), ("millrace job status batch-3f2a90", "one, with its reason")
    ),
)
def status(
    name: Annotated[str | None, typer.Argument(metavar="JOB", help="Only this one.")] = None,
    *,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Say how jobs fare: waiting, starting, ready, done or failed."""
    with ControlClient(launcher) as control:
        found = control.jobs() if name is None else [control.job(name)]
    if json:
        for job in found:
            print_json(job)
    elif found:
        rows = [[each["job"], each["kind"], each["state"], _node(each), each["why"]] for each in found]
        stdout().print(listing(("job", "kind", "state", "node", "why"), rows, whole=("job", "kind", "state")))
    else:
        say("no jobs; launch one: `millrace launch KIND`")


@_job.command(name="cancel", epilog=examples(("millrace job cancel batch-3f2a90", "end it where it runs")))
def cancel(name: Name, *, launcher: Launcher = None, json: Json = False) -> None:
    """End a job where it runs, and forget it. The history keeps it."""
    with ControlClient(launcher) as control:
        done = control.cancel(name)
    if json:
        print_json(done)
    else:
        say(f"{name} {done['result']}")


@_job.command(name="logs", epilog=examples(("millrace job logs batch-3f2a90", "what it said, also after its end")))
def logs(
    name: Name,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="The most lines.")] = 100,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Show what a job said, also after it ended."""
    with ControlClient(launcher) as control:
        found = control.logs(control.job(name)["slot"], lines=lines)
    for line in found:
        print_json({"job": name, "line": line}) if json else say(line)


def submit_job(document: dict[str, Any], *, launcher: str | None, json: bool) -> None:
    """Launch what a document asks for, and say its id."""
    with ControlClient(launcher) as control:
        done = control.submit({key: value for key, value in document.items() if value is not None})
    if json:
        print_json(done)
    else:
        say(done["job"])


def batch_document(arguments: list[str], folder: Path) -> dict[str, Any]:
    """The job that scores files on some node as `millrace batch` does here, with paths relative to this folder."""
    return {"kind": "batch", "arguments": arguments, "folder": str(folder)}


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RequestError(f"{text!r} sets no variable", remedy="write NAME=VALUE")
    return name, value


def _node(job: dict[str, Any]) -> str:
    return job["process"]["node"] if job["process"] else ""
