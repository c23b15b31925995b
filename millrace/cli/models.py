"""`millrace model`: push, list, show, alias, promote, rollback."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from millrace.cli.options import Api, Bootstrap, Json, examples
from millrace.cli.output import facts, human_bytes, listing, print_json, say, shortened, stderr, stdout
from millrace.client import Answering, Client, ControlClient, EvaluationEntry, ModelDetails, Models, ModelVersion
from millrace.client.models import details_in, version_in
from millrace.core.errors import RequestError

app = typer.Typer()
model = typer.Typer(no_args_is_help=True, help="Push models, list and show their versions, promote them and roll back.")
app.add_typer(model, name="model", rich_help_panel="Models", epilog=examples(("millrace model list", "what is there?")))

_WAIT_SECS: Final = 10.0
WaitSecs = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for the scorers at most.")
]
Reference = Annotated[str, typer.Argument(help="NAME (its champion), NAME@ALIAS or NAME/VERSION.")]


@model.command(
    epilog=examples(
        ("millrace model push ./weather-bundle", "the next version; the first one becomes the champion"),
        ("millrace model push ./weather-bundle --alias challenger", "and name it"),
        ("millrace model push ./weather-bundle --transform weather/3", "records are transformed first, everywhere"),
    )
)
def push(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, as millrace.serving.export writes it.")],
    *,
    alias: Annotated[str | None, typer.Option(metavar="NAME", help="A name that shall mean this version.")] = None,
    transform: Annotated[
        str | None, typer.Option(metavar="NAME[/VERSION]", help="The transform that the model was trained with.")
    ] = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Check a model, store it, and make it the next version.

    The model is first loaded and tried in a guarded process: a file that is
    broken, hostile or no ONNX graph is refused with the reason. The same
    bundle pushed again is the same version.
    """
    client = Client(bootstrap)
    with stderr().status("trying the model in a guarded process"):
        version = client.models.push(bundle, alias=alias, transform=transform)
    _say(version, json=json)


@model.command(
    name="list",
    epilog=examples(("millrace model list", "all models"), ("millrace model list weather", "the versions of one")),
)
def list_versions(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    *,
    bootstrap: Bootstrap = None,
    api: Api = False,
    json: Json = False,
) -> None:
    """List models and their versions."""
    versions = _asked_versions(name) if api else Client(bootstrap).models.list(name)
    if json:
        for version in versions:
            print_json(version.document())
    elif versions:
        stdout().print(versions_table(versions))
    else:
        say("no models yet; push one: `millrace model push FOLDER`")


@model.command(
    epilog=examples(
        ("millrace model show weather", "the champion"), ("millrace model show weather/3 --json", "all that is known")
    )
)
def show(reference: Reference, *, bootstrap: Bootstrap = None, api: Api = False, json: Json = False) -> None:
    """Show a version: what it accepts and answers, how good it was, what it was made of."""
    details = _asked_details(reference) if api else Client(bootstrap).models.show(reference)
    if json:
        print_json(details.document())
    else:
        stdout().print(details_view(details))


@model.command(
    epilog=examples(
        ("millrace model alias champion weather/4", "promote version 4: scorers switch between two micro-batches"),
        ("millrace model alias champion weather/3", "and back"),
    )
)
def alias(
    alias: Annotated[str, typer.Argument(help="Name, such as champion or challenger.")],
    reference: Reference,
    *,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Let a name mean a version; scorers that follow the name switch at once."""
    _say(Client(bootstrap).models.set_alias(alias, reference), json=json)


@model.command(
    epilog=examples(
        ("millrace model promote weather", "the challenger, which the trainer proposed"),
        ("millrace model promote weather 4", "any version; weather/4 says the same"),
    )
)
def promote(
    reference: Annotated[str, typer.Argument(help="NAME (its challenger), NAME@ALIAS or NAME/VERSION.")],
    version: Annotated[int | None, typer.Argument(help="With NAME: the version.")] = None,
    *,
    wait: WaitSecs = _WAIT_SECS,
    bootstrap: Bootstrap = None,
    api: Api = False,
    json: Json = False,
) -> None:
    """Make a version the champion, and wait until the scorers answer with it.

    Scorers switch between two micro-batches, and no prediction mixes versions.
    From which record on the version answers is in DEPLOYMENT.handovers.
    """
    wanted = reference if version is None else f"{reference}/{version}"
    if api:
        with ControlClient() as control:
            _say(version_in(control.promote(*_parts(wanted))), json=json)
        return
    _change(Client(bootstrap), _name_in(reference), lambda models: models.promote(wanted), wait=wait, json=json)


@model.command(epilog=examples(("millrace model rollback weather", "back to the champion before this one")))
def rollback(
    name: Annotated[str, typer.Argument(help="The model.")],
    *,
    wait: WaitSecs = _WAIT_SECS,
    bootstrap: Bootstrap = None,
    api: Api = False,
    json: Json = False,
) -> None:
    """Make the version the champion that was it before the current one, and wait for the scorers.

    Which one that was is in the topic millrace.history.
    """
    if api:
        with ControlClient() as control:
            _say(version_in(control.rollback(name)), json=json)
        return
    _change(Client(bootstrap), name, lambda models: models.rollback(name), wait=wait, json=json)


def _change(client: Client, name: str, change: Callable[[Models], ModelVersion], *, wait: float, json: bool) -> None:
    """Change the champion, and say from which record on it answers."""
    watch = client.models.handover(name)
    version = change(client.models)
    with stderr().status("waiting for the scorers"):
        answering = watch.wait(version.entry.version, within=timedelta(seconds=wait))
    if json:
        print_json({**version.document(), "answering": [each.document() for each in answering]})
        return
    _say(version, json=False)
    for line in handover_lines(answering, wait):
        say(line)


def handover_lines(answering: Sequence[Answering], waited_secs: float) -> list[str]:
    """What to say of the scorers that were waited for."""
    if not answering:
        return ["no scorer of it runs; the next one that starts answers with it"]
    return [_handover_line(each, waited_secs) for each in answering]


def _handover_line(each: Answering, waited_secs: float) -> str:
    begun = ", ".join(f"{partition} from offset {offset}" for partition, offset in sorted(each.first_offsets.items()))
    if not begun:
        return f"{each.deployment} has not answered with it within {waited_secs:g} s: look at its records and its log"
    behind = ", ".join(map(str, each.behind))
    late = f"; not yet in {behind}: look at the log of its scorers" if behind else ""
    return f"{each.deployment} answers with it: partition {begun}{late}"


def _asked_versions(name: str | None) -> Sequence[ModelVersion]:
    with ControlClient() as control:
        return [version_in(each) for each in control.models() if name in {None, each["name"]}]


def _asked_details(reference: str) -> ModelDetails:
    with ControlClient() as control:
        return details_in(control.model(*_parts(reference)))


def _parts(reference: str) -> tuple[str, int]:
    """Name and number: over the API a version is named by both, so that what was looked at is what is changed."""
    name, _, version = reference.partition("/")
    if not version.isdecimal():
        raise RequestError(f"{reference!r} names no version", remedy="with --api, write NAME/VERSION")
    return name, int(version)


def _name_in(reference: str) -> str:
    return re.split("[@/]", reference)[0]


def versions_table(versions: Sequence[ModelVersion]) -> RenderableType:
    """Versions, a line each."""
    rows: list[list[str | Text]] = [
        [
            Text(version.entry.key, style="bold"),
            Text(", ".join(version.aliases), style="green"),
            version.entry.task.value,
            "  ".join(f"{metric.name} {metric.value:.3f}" for metric in version.entry.metrics[:2]),
            f"{version.entry.pushed_at:%Y-%m-%d %H:%M}",
        ]
        for version in versions
    ]
    return listing(("version", "aliases", "task", "baseline", "pushed (UTC)"), rows, whole=("version", "aliases"))


def details_view(details: ModelDetails) -> RenderableType:
    """Everything of a version, for a person."""
    entry, manifest = details.version.entry, details.manifest
    invariance = {True: "equal in any batch", False: "may differ with the batch", None: "not tried"}
    head = facts(
        {
            "version": Text(entry.key, style="bold"),
            "aliases": ", ".join(details.version.aliases) or "none",
            "task": entry.task.value,
            "classes": ", ".join(manifest.signature.classes) or "none",
            "runtime": entry.runtime.value,
            "digest": entry.digest,
            "transform": entry.transform or "none",
            "size": human_bytes(entry.bytes),
            "made": f"{entry.created_at:%Y-%m-%d %H:%M} UTC with Python {manifest.environment.python}",
            "pushed": f"{entry.pushed_at:%Y-%m-%d %H:%M} UTC",
            "answers": invariance[entry.batch_invariant],
            "learned on": ", ".join(sorted(details.curves)) or "no device yet",
        }
    )
    features: list[list[str | Text]] = [
        [each.name, each.dtype.value, "×".join(map(str, each.shape)), "yes" if each.nullable else ""]
        for each in manifest.signature.features
    ]
    metrics: list[list[str | Text]] = [
        [each.name, f"{each.value:.4f}", f"{each.lower:.4f} to {each.upper:.4f}", f"{each.rows:,}"]
        for each in entry.metrics
    ]
    parts: list[RenderableType] = [head, Text(), listing(("feature", "type", "shape", "nullable"), features)]
    if metrics:
        parts += [Text(), listing(("baseline", "value", "95 % interval", "rows"), metrics, numbers=("value", "rows"))]
    if details.evaluations:
        parts += [Text(), _evaluations_table(details.evaluations)]
    return Group(*parts)


def _evaluations_table(evaluations: Sequence[EvaluationEntry]) -> RenderableType:
    """Evaluations, a line each, oldest first."""
    rows: list[list[str | Text]] = [
        [
            each.dataset,
            shortened(each.digest),
            f"{each.rows:,}",
            "  ".join(f"{metric.name} {metric.value:.3f}" for metric in each.metrics),
            each.experiment,
            each.who,
            f"{each.evaluated_at:%Y-%m-%d %H:%M}",
        ]
        for each in evaluations
    ]
    titles = ("evaluated on", "digest", "rows", "metrics", "experiment", "by", "at (UTC)")
    return listing(titles, rows, numbers=("rows",), whole=("evaluated on", "metrics"))


def _say(version: ModelVersion, *, json: bool) -> None:
    if json:
        print_json(version.document())
    else:
        names = f" ({', '.join(version.aliases)})" if version.aliases else ""
        say(f"{version.entry.key}{names}  {shortened(version.entry.digest)}")
