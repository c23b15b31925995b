"""`millrace history`: who changed what, who was refused, and whether anybody changed the history."""

from collections.abc import Mapping
from datetime import UTC, datetime
from json import dumps
from typing import Annotated, Any, Final

import typer

from millrace.cli.options import Json, Launcher, examples
from millrace.cli.output import listing, print_json, say, stdout
from millrace.client.control import ControlClient
from millrace.core.errors import RequestError

_LONGEST: Final = 60
"""Letters of what is said of one change; all of it is in `--json`."""

app = typer.Typer()


@app.command(
    epilog=examples(
        ("millrace history", "who changed what?"),
        ("millrace history rain --what scale", "of one deployment, and one action"),
        ("millrace history --who key/ci --since 2026-11-01", "what a key did"),
        ("millrace history --what refused", "who was not allowed what he wanted"),
        ("millrace history rain --json", "with what was there before and after"),
        ("millrace history --verify", "has anybody changed the history?"),
    ),
    rich_help_panel="Deployments",
)
def history(
    name: Annotated[str | None, typer.Argument(metavar="DEPLOYMENT", help="Only about this deployment.")] = None,
    *,
    who: Annotated[str | None, typer.Option(help="Only by whose name begins so; a key is key/NAME.")] = None,
    what: Annotated[str | None, typer.Option(help="Only actions that begin so: scale, refused.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Not before this time; UTC where it says no zone."),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Only check that no record was edited or dropped.")] = False,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Show who changed what in the control topics, when, and what came of it."""
    with ControlClient(launcher) as control:
        if verify:
            raise typer.Exit(_show_verification(control.verification(), json=json))
        records = control.history(name, who=who, what=what, since=None if since is None else _moment(since))
    if json:
        for record in records:
            print_json(record)
        return
    rows = [[_time(r["at_ms"]), r["who"], r["what"], r["subject"], _change(r), _result(r["result"])] for r in records]
    columns = ("when (UTC)", "who", "what", "subject", "before → after", "result")
    stdout().print(listing(columns, rows, whole=("when (UTC)", "subject")))


def _show_verification(found: Mapping[str, Any], *, json: bool) -> int:
    """Says it, and returns the exit code."""
    if json:
        print_json(found)
    elif found["whole"]:
        say(f"whole: {found['records']} records, each follows the one before it")
    else:
        broken = found["broken"]
        say(f"broken: record {broken['sequence']} of {broken['subject']}: {broken['why']}")
    return 0 if found["whole"] else 1


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestError(f"{text!r} is no date: {error}", remedy="write for example 2026-11-01T12:00") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _change(record: Mapping[str, Any]) -> str:
    """The members that differ, as `name: before → after`; `--json` has everything."""
    lines = []
    for topic, after in record["after"].items():
        for key, document in after.items():
            before = record["before"].get(topic, {}).get(key)
            lines += _differences(before, document)
    return ", ".join(lines)


def _differences(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    if before is None or after is None:
        return ["none → made" if before is None else "deleted"]
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return [_difference(name, before.get(name), after.get(name)) for name in changed]


def _difference(name: str, before: object, after: object) -> str:
    said = f"{name}: {_words(before)} → {_words(after)}"
    return said if len(said) <= _LONGEST else f"{name} changed"


def _result(result: object) -> str:
    match result:
        case {"error": error}:
            return str(error)
        case None:
            return ""
        case _:
            said = _words(result)
            return said if len(said) <= _LONGEST else ""


def _words(value: object) -> str:
    """A text as it is, anything else as JSON; `none` where there is nothing."""
    return value if isinstance(value, str) else "none" if value is None else dumps(value)
