"""`millrace lineage`: everything that a prediction rests on."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import facts, print_json, shortened, stdout
from millrace.client import Client, Deed, Lineage
from millrace.core.records import Coordinates

app = typer.Typer()


@app.command(
    epilog=examples(
        ("millrace lineage rain.predictions-3-88", "of a prediction"),
        ("millrace lineage weather.features-3-1042 --deployment rain", "of the record that it is about"),
        ("millrace lineage rain.predictions-3-88 --json", "with the offsets that the model learned from"),
    ),
    rich_help_panel="Streams",
)
def lineage(
    coordinates: Annotated[str, typer.Argument(help="TOPIC-PARTITION-OFFSET of a prediction, or of its record.")],
    *,
    deployment: Annotated[
        str | None, typer.Option(help="Whose prediction. Default: the only one, or the stream's.")
    ] = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Show where a prediction comes from: record, transform, model, training data, people, and the process."""
    found = Client(bootstrap).lineage(Coordinates.parse(coordinates), deployment)
    if json:
        print_json(found.document())
        return
    remarks = (Text(remark, style="dim") for remark in found.remarks)
    stdout().print(Group(facts(_facts(found)), *remarks))


def _facts(found: Lineage) -> dict[str, str | Text]:
    prediction, manifest, by = found.prediction, found.manifest, found.scored_by
    pairs: dict[str, str | Text] = {
        "prediction": Text(str(prediction.at), style="bold"),
        "record": str(prediction.source),
        "transform": prediction.transform,
        "model": f"{prediction.model}/{prediction.version}  {shortened(prediction.digest)}",
    }
    if manifest is not None:
        pairs["trained on"] = _training(found)
        pairs["reference"] = shortened(manifest.profile)
        pairs["made with"] = f"Python {manifest.environment.python}, {manifest.environment.platform}"
    pairs["pushed by"] = _deed(found.pushed)
    pairs["let answer by"] = _deed(found.promoted)
    if by is not None:
        pairs["scored by"] = f"{by.slot} on node {by.node}, launch {by.launch}"
        pairs["environment"] = by.environment
    pairs["scored at"] = _time(prediction.scored_at_ms)
    return pairs


def _training(found: Lineage) -> str:
    if found.manifest is None:
        return ""
    source = found.manifest.training
    ranges = [f"{each.topic}-{each.partition} {each.first_offset}..{each.next_offset}" for each in source.topics]
    rows = [] if source.rows is None else [f"{source.rows} rows"]
    return ", ".join([*rows, *ranges, *source.files]) or "its bundle does not say"


def _deed(deed: Deed | None) -> str:
    return "the history does not say" if deed is None else f"{deed.who}, {_time(deed.at_ms)} ({deed.what})"


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
