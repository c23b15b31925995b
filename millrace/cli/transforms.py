"""`millrace transform`: fit, apply, list, show, export, import."""

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Group
from rich.text import Text

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import facts, listing, print_json, progress, remark, say, shortened, stdout
from millrace.client import (
    AppliedTransform,
    Client,
    TransformEntry,
    apply_transform,
    fit_transform,
    read_program,
)
from millrace.core.errors import RequestError
from millrace.transform import Program, Transform

app = typer.Typer()
transform = typer.Typer(no_args_is_help=True, help="ETL as JSON: fit a transform, keep it as a version, apply it.")
app.add_typer(
    transform, name="transform", rich_help_panel="Data", epilog=examples(("millrace transform list", "what is there?"))
)

Reference = Annotated[str, typer.Argument(help="NAME (its newest version) or NAME/VERSION.")]


@transform.command(
    epilog=examples(
        ("millrace transform fit weather.yaml --data days.parquet", "the next version of the transform weather"),
        ("millrace transform fit weather.yaml --data days.parquet --out weather.json", "into a file; needs no broker"),
    )
)
def fit(
    document: Annotated[Path, typer.Argument(help="The transform, YAML or JSON.")],
    *,
    data: Annotated[Path, typer.Option(metavar="FILE", help="Rows to learn from: CSV, Parquet, Arrow, JSON lines.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here and push nothing.")] = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Learn from data what the steps must know, and push the result as the next version.

    A step that cannot work on the columns that reach it is refused by its
    number, before anything is pushed.
    """
    program = fit_transform(Transform.load(document), data)
    if out is not None:
        _export(program, out, json=json)
        return
    _say(Client(bootstrap).transforms.push(program), json=json)


@transform.command(
    name="apply",
    epilog=examples(
        ("millrace transform apply weather days.csv features.parquet", "with the newest version"),
        ("millrace transform apply weather.json days.csv features.parquet", "with a file; needs no broker"),
    ),
)
def apply_to_file(
    what: Annotated[str, typer.Argument(help="NAME, NAME/VERSION, or a file that `export` wrote.")],
    source: Annotated[Path, typer.Argument(help="Rows: CSV, Parquet, Arrow or JSON lines.")],
    target: Annotated[Path, typer.Argument(help="Where the transformed rows go; the ending says the format.")],
    *,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Transform a file. Rows that cannot be transformed are counted and named, never written."""
    program = _find(what, bootstrap)
    with progress("{task.completed:,.0f} rows") as bar:
        task = bar.add_task("transforming", total=None)
        done = apply_transform(program, source, target, on_rows=lambda rows: bar.update(task, completed=rows))
    if json:
        print_json(_document(done))
        return
    late = f", {done.late:,} late" if done.late else ""
    say(f"{done.written:,} of {done.read:,} rows written to {target}; {done.refused_rows:,} refused{late}")
    for refused in done.refused[:10]:
        remark(f"row {refused.row}: step {refused.step}: {refused.detail}")


@transform.command(name="list", epilog=examples(("millrace transform list", "all transforms and their versions")))
def list_versions(
    name: Annotated[str | None, typer.Argument(help="Only this transform.")] = None,
    *,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """List transforms and their versions."""
    entries = Client(bootstrap).transforms.list(name)
    if json:
        for entry in entries:
            print_json(entry.model_dump(mode="json"))
    elif entries:
        rows: list[list[str | Text]] = [
            [
                Text(entry.reference, style="bold"),
                shortened(entry.fingerprint),
                str(len(entry.open().transform.steps)),
                f"{entry.pushed_at:%Y-%m-%d %H:%M}",
            ]
            for entry in entries
        ]
        stdout().print(listing(("version", "fingerprint", "steps", "pushed (UTC)"), rows, whole=("version",)))
    else:
        say("no transforms yet; make one: `millrace transform fit FILE --data FILE`")


@transform.command(epilog=examples(("millrace transform show weather", "the newest version, step by step")))
def show(reference: Reference, *, bootstrap: Bootstrap = None, json: Json = False) -> None:
    """Show a version: what it reads, what each step does and what it learnt, what it makes."""
    entry = Client(bootstrap).transforms.show(reference)
    if json:
        print_json(entry.model_dump(mode="json"))
        return
    program = entry.open()
    head = facts(
        {
            "version": Text(entry.reference, style="bold"),
            "fingerprint": entry.fingerprint,
            "reads": ", ".join(f"{column.name} ({column.type})" for column in program.transform.input),
            "makes": ", ".join(f"{column.name} ({column.type})" for column in program.check()),
            "pushed": f"{entry.pushed_at:%Y-%m-%d %H:%M} UTC",
        }
    )
    steps: list[list[str | Text]] = [
        [str(number), step.step, _compact(step.model_dump(mode="json", exclude_defaults=True, exclude={"step"}))]
        for number, step in enumerate(program.transform.steps, start=1)
    ]
    stdout().print(Group(head, Text(), listing(("step", "does", "with"), steps, numbers=("step",))))


@transform.command(epilog=examples(("millrace transform export weather/3 weather.json", "for another cluster")))
def export(
    reference: Reference,
    target: Annotated[Path, typer.Argument(help="Where to write; must not exist.")],
    *,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Write a version to a file: document and all that was learnt."""
    _export(Client(bootstrap).transforms.show(reference).open(), target, json=json)


@transform.command(name="import", epilog=examples(("millrace transform import weather.json", "the same version again")))
def import_file(
    source: Annotated[Path, typer.Argument(help="What `export` wrote.")],
    *,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Push a transform from a file. One that is a version already keeps its number."""
    _say(Client(bootstrap).transforms.push(read_program(source)), json=json)


def _find(what: str, bootstrap: str | None) -> Program:
    path = Path(what)
    if path.suffix in {".json", ".yaml", ".yml"}:
        return read_program(path)
    return Client(bootstrap).transforms.show(what).open()


def _export(program: Program, target: Path, *, json: bool) -> None:
    text = orjson.dumps(program.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        with target.open("xb") as file:
            file.write(text)
    except OSError as error:
        raise RequestError(f"{target} cannot be written: {error.strerror}", remedy="choose another name") from error
    if json:
        print_json({"transform": program.transform.transform, "fingerprint": program.fingerprint, "file": str(target)})
    else:
        say(f"{program.transform.transform}  {shortened(program.fingerprint)}  written to {target}")


def _compact(value: object) -> str:
    return orjson.dumps(value).decode()


def _document(done: AppliedTransform) -> dict[str, object]:
    refused = [
        {"row": each.row, "step": each.step, "reason": each.reason, "detail": each.detail} for each in done.refused
    ]
    return {
        "read": done.read,
        "written": done.written,
        "refused_rows": done.refused_rows,
        "refused": refused,
        "late": done.late,
    }


def _say(entry: TransformEntry, *, json: bool) -> None:
    if json:
        print_json(entry.model_dump(mode="json"))
    else:
        say(f"{entry.reference}  {shortened(entry.fingerprint)}")
