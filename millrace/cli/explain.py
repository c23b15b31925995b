"""`millrace explain`."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import facts, listing, print_json, shortened, stdout
from millrace.client import Client, Explanation, Verdict
from millrace.core.records import Coordinates

app = typer.Typer()

_VERDICTS: Final = {
    Verdict.EQUAL: ("scored again: equal to the last bit", "bold green"),
    Verdict.DIFFERENT: ("scored again: the answer differs", "bold red"),
    Verdict.NOT_REPEATED: ("could not be scored again here", "bold yellow"),
    Verdict.DEAD_LETTER: ("could not be scored; it is a dead letter", "bold yellow"),
    Verdict.NO_OUTCOME: ("has no prediction and no dead letter", "bold yellow"),
}
_SHOWN_CHARACTERS: Final = 400


@app.command(
    epilog=examples(
        ("millrace explain weather.features-3-1042", "the record at offset 1042 of partition 3"),
        ("millrace explain rain.predictions-3-88", "the same from its prediction"),
        ("millrace explain weather.features-3-1042 --deployment rain", "when several deployments score the topic"),
        ("millrace explain weather.features-3-1042.7 --file rain.yaml", "row 7 of an Arrow record, read as it says"),
    ),
    rich_help_panel="Streams",
)
def explain(
    coordinates: Annotated[str, typer.Argument(help="TOPIC-PARTITION-OFFSET of a record or of a prediction.")],
    *,
    deployment: Annotated[
        str | None, typer.Option(help="Whose prediction. Default: the only one, or the stream's.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="The deployment's document, when it is not among millrace.deployments.")
    ] = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Find a record and its prediction, score it again with the same model, and compare.

    Exit code 0 when every number of the answer has the same bits, else 1.
    """
    explanation = Client(bootstrap).explain(Coordinates.parse(coordinates), file or deployment)
    if json:
        print_json(explanation.document())
    else:
        stdout().print(explanation_view(explanation))
    raise typer.Exit(0 if explanation.verdict is Verdict.EQUAL else 1)


def explanation_view(explanation: Explanation) -> RenderableType:
    """The explanation for a person: the record, the prediction, and the comparison."""
    said, style = _VERDICTS[explanation.verdict]
    parts: list[RenderableType] = [facts(_record_facts(explanation))]
    if explanation.prediction is not None:
        parts += [Text(), facts(_prediction_facts(explanation))]
    if explanation.answer is not None:
        parts += [
            Text(),
            listing(("answer", "predicted", "again"), _comparison(explanation), numbers=("predicted", "again")),
        ]
    parts += [Text(), Text(f"{explanation.source} {said}", style=style)]
    if explanation.remark:
        parts.append(Text(explanation.remark, style="dim"))
    return Group(*parts)


def _record_facts(explanation: Explanation) -> dict[str, str | Text]:
    record, features = explanation.record, explanation.features
    pairs: dict[str, str | Text] = {"record": Text(str(explanation.source), style="bold")}
    if record.keys[0] is not None:
        pairs["key"] = _text(record.keys[0])
    pairs["value"] = _text(record.values[0])
    if features is not None:
        pairs["features"] = "  ".join(f"{name}={value}" for name, value in features.items())
    return pairs


def _prediction_facts(explanation: Explanation) -> dict[str, str | Text]:
    prediction = explanation.prediction
    if prediction is None:
        return {}
    latency = (prediction.scored_at_ms - prediction.event_time_ms) / 1000
    return {
        "prediction": Text(str(prediction.at), style="bold"),
        "model": f"{prediction.model}/{prediction.version}  {shortened(prediction.digest)}",
        "transform": prediction.transform,
        "latency": f"{latency:,.3f} s from the record's timestamp to its scoring",
    }


def _comparison(explanation: Explanation) -> list[list[str | Text]]:
    """What was predicted beside what the model answers now, the differences marked."""
    prediction, answer = explanation.prediction, explanation.answer
    if prediction is None or answer is None:
        return []
    pairs: list[tuple[str, object, object]] = [("label", prediction.label, answer.label)]
    if answer.label is None:
        pairs = [("value", prediction.value, answer.value)]
    pairs += [(f"score {name}", prediction.scores.get(name), score) for name, score in answer.scores.items()]
    pairs.append(("bins", prediction.bins, answer.bins))
    return [[name, str(then), str(now)] for name, then, now in pairs]


def _text(value: bytes | None) -> str:
    if value is None:
        return "(none)"
    text = value.decode("utf-8", "backslashreplace")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " …"
