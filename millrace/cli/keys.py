"""`millrace keys` and `millrace whoami`: who may do what over the REST API and at the gateway's doors."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from millrace.cli.options import Json, Launcher, examples
from millrace.cli.output import listing, print_json, remark, say, stdout
from millrace.client.control import ControlClient
from millrace.core.control.keys import Role
from millrace.core.errors import RequestError

app = typer.Typer()
_keys = typer.Typer(
    help="Make, list, rotate and revoke API keys.",
    no_args_is_help=True,
    epilog=examples(("millrace keys list", "who has a key, and until when?")),
)
app.add_typer(_keys, name="keys", rich_help_panel="Access")

_UNITS = {"m": 60, "h": 3_600, "d": 86_400}
_STYLES = {"valid": "green", "expired": "yellow", "revoked": "red"}

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")]


@_keys.command(
    epilog=examples(
        ("millrace keys create ci --role operator --lasts 90d", "for a pipeline, three months long"),
        ("millrace keys create wall --json", "to look only; for a program"),
        ("MILLRACE_KEY=mr_ci_... millrace deploy rain.yaml --launcher http://10.0.0.7:9008", "use it from elsewhere"),
    )
)
def create(
    name: Name,
    *,
    role: Annotated[Role, typer.Option(help="What it may do; each role may what those before it may.")] = Role.VIEWER,
    lasts: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long it opens anything: 30m, 12h, 90d.", show_default="for good"),
    ] = None,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Make a key. Its text is shown once: only a hash of it is kept."""
    with ControlClient(launcher) as control:
        made = control.create_key(name, role=role.value, lasts=None if lasts is None else _span(lasts))
    _show_text(made, json=json)


@_keys.command(name="list", epilog=examples(("millrace keys list", "who has a key, and until when?")))
def list_(*, launcher: Launcher = None, json: Json = False) -> None:
    """List all keys, those that open nothing any more included."""
    with ControlClient(launcher) as control:
        found = control.keys()
    if json:
        for key in found:
            print_json(key)
    elif found:
        columns = ("name", "role", "state", "made (UTC)", "by", "ends (UTC)")
        stdout().print(listing(columns, list(map(_row, found)), whole=("name", "role", "state")))
    else:
        say("no keys yet; only the owner of this machine's token may call; make one: `millrace keys create NAME`")


@_keys.command(epilog=examples(("millrace keys rotate ci", "another text; the old one opens nothing any more")))
def rotate(name: Name, *, launcher: Launcher = None, json: Json = False) -> None:
    """Give a key another text and as long a life as before. The old text ends at once."""
    with ControlClient(launcher) as control:
        made = control.rotate_key(name)
    _show_text(made, json=json)


@_keys.command(epilog=examples(("millrace keys revoke ci", "everywhere, within two seconds, and for good")))
def revoke(name: Name, *, launcher: Launcher = None, json: Json = False) -> None:
    """Take a key away, on all nodes and gateways."""
    with ControlClient(launcher) as control:
        done = control.revoke_key(name)
    if json:
        print_json(done)
    else:
        say(f"{name} is {done['state']}")


@app.command(
    epilog=examples(("millrace whoami", "whom does the history name for what I do?")), rich_help_panel="Access"
)
def whoami(*, launcher: Launcher = None, json: Json = False) -> None:
    """Say who you are to the launcher, and what you may do."""
    with ControlClient(launcher) as control:
        found = control.caller()
    if json:
        print_json(found)
    else:
        say(f"{found['who']}: {found['role']}")


def _show_text(made: Mapping[str, Any], *, json: bool) -> None:
    if json:
        print_json(made)
        return
    say(made["key"])
    ends = "" if made["expires_ms"] is None else f" until {_time(made['expires_ms'])} UTC"
    remark(f"{made['name']}: {made['role']}{ends}. This is the only time that the key is shown.")


def _row(key: Mapping[str, Any]) -> list[str | Text]:
    end = key["revoked_ms"] if key["revoked_ms"] is not None else key["expires_ms"]
    return [
        key["name"],
        key["role"],
        Text(key["state"], style=_STYLES[key["state"]]),
        _time(key["created_ms"]),
        key["created_by"],
        "never" if end is None else _time(end),
    ]


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _span(text: str) -> timedelta:
    count, unit = text[:-1], text[-1:]
    if not count.isdecimal() or unit not in _UNITS or int(count) == 0:
        raise RequestError(f"{text!r} is no length of time", remedy="write for example 30m, 12h or 90d")
    return timedelta(seconds=int(count) * _UNITS[unit])
