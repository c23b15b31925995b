"""`millrace dlq show` and `dlq replay`: the dead letter queue."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from heapq import nlargest
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from millrace.cli.options import Api, Bootstrap, Json, examples
from millrace.cli.output import listing, print_json, remark, say, stdout
from millrace.client import Client, ControlClient, DeadLetter, Replayed, ReplayFrom, ReplayOptions, parse_start
from millrace.core.errors import MillraceError, Reason
from millrace.core.records import Coordinates

app = typer.Typer()
dlq = typer.Typer(no_args_is_help=True, help="Look at records that could not be scored, and send them back.")
app.add_typer(dlq, name="dlq", rich_help_panel="Streams", epilog=examples(("millrace dlq show rain", "what failed?")))

_SHOWN: Final = 20
_VALUE_WIDTH: Final = 60

Deployment = Annotated[str, typer.Argument(help="Deployment, or a dead letter topic by its full name.")]
Only = Annotated[Reason | None, typer.Option("--reason", help="Only letters with this reason.", metavar="REASON")]


@dlq.command(
    epilog=examples(
        ("millrace dlq show rain", "the newest letters, and how many have which reason"),
        ("millrace dlq show rain --reason not_finite --since 1d", "those of one kind, of the last day"),
        ("millrace dlq show rain --json | jq -r .value", "the records as they were"),
    )
)
def show(
    deployment: Deployment,
    *,
    reason: Only = None,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Where to begin: earliest, 10m, 2h, 1d ago, or a time in ISO 8601.")
    ] = "earliest",
    maximum: Annotated[
        int, typer.Option("--max", min=1, help="Show so many letters, the newest; JSON has all.")
    ] = _SHOWN,
    bootstrap: Bootstrap = None,
    api: Api = False,
    json: Json = False,
) -> None:
    """Show dead letters: the record, where it came from, and why it failed."""
    letters = _asked(deployment, maximum) if api else _read(deployment, since, bootstrap)
    chosen = (letter for letter in letters if reason in {None, letter["reason"]})
    if json:
        for letter in chosen:
            print_json(letter)
    else:
        _show(chosen, maximum)


@dlq.command(
    epilog=examples(
        ("millrace dlq replay rain", "after a repair: everything that no replay has sent back yet"),
        ("millrace dlq replay rain --reason schema_mismatch", "only those that the repair concerns"),
        ("millrace dlq replay rain --again --max-replays 5", "all letters once more"),
    )
)
def replay(
    deployment: Deployment,
    *,
    reason: Only = None,
    again: Annotated[bool, typer.Option("--again", help="Letters too that an earlier replay sent back.")] = False,
    max_replays: Annotated[
        int, typer.Option(min=1, metavar="TIMES", help="Refuse letters that were sent back so often already.")
    ] = ReplayOptions().max_replays,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Send dead letters back to the topic and partition that they came from.

    Each goes back once: an interrupted replay goes on where it stopped, and
    the next one takes only what came since. A record that fails again comes
    back with its replays counted, and is refused when it has had enough.
    """
    begin = ReplayFrom.BEGINNING if again else ReplayFrom.LAST_REPLAY
    options = ReplayOptions(reason=reason, begin=begin, max_replays=max_replays)
    refused: list[DeadLetter] = []
    replayed = Client(bootstrap).replay_dead_letters(deployment, options, on_refused=refused.append)
    if json:
        print_json({**replay_document(replayed), "refused_letters": [str(letter.at) for letter in refused]})
        return
    say(replay_line(replayed))
    for letter in refused[:_SHOWN]:
        remark(f"refused {letter.at}: sent back {letter.story.replays} times already ({letter.story.reason})")


def replay_document(replayed: Replayed) -> dict[str, object]:
    """How a replay ended, as JSON values."""
    return {
        "sent": replayed.sent,
        "refused": replayed.refused,
        "passed_over": replayed.passed_over,
        "unreadable": replayed.unreadable,
    }


def replay_line(replayed: Replayed) -> str:
    """How a replay ended, in one line."""
    others = [
        f"{count:,} {what}"
        for count, what in (
            (replayed.refused, "refused by the loop guard"),
            (replayed.passed_over, "passed over"),
            (replayed.unreadable, "unreadable"),
        )
        if count
    ]
    return ", ".join([f"sent {replayed.sent:,} record{'' if replayed.sent == 1 else 's'} back", *others])


def letter_rows(letters: Sequence[Mapping[str, Any]]) -> Iterator[list[str | Text]]:
    """Rows of the table of dead letters, from their documents."""
    for letter in letters:
        value = "(none)" if letter["value"] is None else letter["value"][:_VALUE_WIDTH]
        reason = Text(letter["reason"], style="yellow")
        yield [letter["source"], reason, letter["message"], value, str(letter["replays"])]


def _read(deployment: str, since: str, bootstrap: str | None) -> Iterator[Mapping[str, Any]]:
    start = parse_start(since, datetime.now(UTC))
    for letter in Client(bootstrap).dead_letters(deployment, start=start, on_invalid=_remark):
        yield letter.document()


def _asked(deployment: str, maximum: int) -> Sequence[Mapping[str, Any]]:
    with ControlClient() as control:
        return control.dead_letters(deployment, most=maximum)


def _show(letters: Iterable[Mapping[str, Any]], maximum: int) -> None:
    console = stdout()
    counts: Counter[str] = Counter()

    def counted() -> Iterator[Mapping[str, Any]]:
        for letter in letters:
            counts[letter["reason"]] += 1
            yield letter

    newest = nlargest(maximum, counted(), key=lambda letter: (letter["timestamp"], letter["at"]))
    if not newest:
        say("no dead letters")
        return
    rows = list(letter_rows(newest[::-1]))
    console.print(
        listing(
            ("source", "reason", "why", "value", "replays"),
            rows,
            numbers=("replays",),
            whole=("source", "reason", "replays"),
        )
    )
    shown = "" if len(newest) == counts.total() else f", the newest {len(newest)} shown"
    summary = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    console.print(
        Text(f"{counts.total():,} dead letter{'' if counts.total() == 1 else 's'}{shown}: {summary}", style="dim"),
        soft_wrap=True,
    )


def _remark(at: Coordinates, error: MillraceError) -> None:
    remark(f"{at}: {error.message}")
