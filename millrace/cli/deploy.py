"""`millrace deploy`, `scale`, `delete`, `deployments`, `wait-ready` and `why`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
import yaml
from rich.text import Text

from millrace.cli.options import Bootstrap, Json, Launcher, examples
from millrace.cli.output import listing, print_json, remark, say, stdout
from millrace.client.control import ControlClient
from millrace.client.documents import deployment_document
from millrace.client.keda import scaled_object
from millrace.core.errors import RequestError

app = typer.Typer()

PANEL: Final = "Deployments"

Name = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Name of the deployment.")]
Within = Annotated[float, typer.Option("--within", min=0, metavar="SECONDS", help="How long to wait.")]


@app.command(
    epilog=examples(
        ("millrace deploy rain.yaml --plan", "what would change, and what will not work"),
        ("millrace deploy rain.yaml", "make it so"),
        ("millrace deploy weather --from weather.features --wait", "a model onto a topic, without a file"),
    ),
    rich_help_panel=PANEL,
)
def deploy(
    what: Annotated[str, typer.Argument(help="A deployment document (YAML or JSON), or a model.")],
    *,
    source: Annotated[
        str | None, typer.Option("--from", metavar="TOPIC", help="Topic of features, for a model.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--to", metavar="TOPIC", help="Topic of predictions.", show_default="<name>.predictions"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="DEPLOYMENT", help="Its name.", show_default="the model's")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would happen.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Deploy also what is known not to work yet.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every process does its work.")] = False,
    within: Within = 60,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Bring a model to a topic, or change how that is done.

    The launcher keeps it so: what dies is started again, what a lost node
    ran is started elsewhere.
    """
    document = deployment_document(what, source=source, target=target, name=name)
    called = str(document["deployment"])
    with ControlClient(launcher) as control:
        planned = control.plan(called, document)
        if plan:
            _show_plan(planned, json=json)
            raise typer.Exit(1 if planned["faults"] else 0)
        if planned["faults"] and not force:
            raise RequestError(
                f"{called} will not work: {planned['faults'][0]}", remedy="mend it, or deploy it all the same: --force"
            )
        done = control.put(called, document)
        if wait:
            control.wait_ready(called, within=timedelta(seconds=within))
    if json:
        print_json(done)
    else:
        say(f"{called} {done['result']}{' and ready' if wait else ''}")


@app.command(
    epilog=examples(
        ("millrace scale rain scorers=3", "three scorers"),
        ("millrace scale rain scorers=0", "none, and keep the deployment"),
        ("millrace scale rain scorers=2 auditors=1", "several kinds at once"),
        ("millrace scale rain --auto", "as many scorers as the latency goal takes"),
        ("millrace scale rain --replicas 4", "four scorers, whatever comes"),
        ("millrace scale rain --keda > scaled-object.yaml", "the same for KEDA on Kubernetes"),
    ),
    rich_help_panel=PANEL,
)
def scale(
    name: Name,
    counts: Annotated[
        list[str] | None, typer.Argument(metavar="[KINDS=COUNT]...", help="scorers=3, auditors=1, ...")
    ] = None,
    *,
    auto: Annotated[bool, typer.Option("--auto", help="Let the number of scorers follow the load.")] = False,
    replicas: Annotated[
        int | None, typer.Option(min=0, metavar="COUNT", help="So many scorers, and no longer as the load asks.")
    ] = None,
    keda: Annotated[
        bool, typer.Option("--keda", help="Change nothing: print a ScaledObject that says the same.")
    ] = False,
    bootstrap: Bootstrap = None,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Change how many processes there shall be. Those that stay are not restarted."""
    wanted: dict[str, bool | int] = dict(map(_count, counts or ()))
    if auto or replicas is not None:
        wanted["auto"] = auto
    if replicas is not None:
        wanted["scorers"] = replicas
    if sum((auto, replicas is not None, keda)) > 1 or bool(wanted) is keda:
        raise RequestError("it is not clear what to do", remedy="say one of scorers=3, --auto, --replicas 3, --keda")
    with ControlClient(launcher) as control:
        if keda:
            _show_scaled_object(control.deployment(name)["document"], bootstrap=bootstrap, json=json)
            return
        done = control.scale(name, wanted)
    if json:
        print_json(done)
        return
    say(f"{name}: {', '.join(f'{kind} {_setting(count)}' for kind, count in done['scale'].items())}")
    if done["remark"]:
        remark(done["remark"])


@app.command(epilog=examples(("millrace delete rain", "its topics stay")), rich_help_panel=PANEL)
def delete(name: Name, *, launcher: Launcher = None, json: Json = False) -> None:
    """Delete a deployment: its processes drain and stop. Its topics stay."""
    with ControlClient(launcher) as control:
        done = control.delete(name)
    if json:
        print_json(done)
    else:
        say(f"{name} {done['result']}")


@app.command(epilog=examples(("millrace deployments", "how does everything fare?")), rich_help_panel=PANEL)
def deployments(*, launcher: Launcher = None, json: Json = False) -> None:
    """List the deployments, and how each fares."""
    with ControlClient(launcher) as control:
        found = control.deployments()
    if json:
        for each in found:
            print_json(each)
    elif found:
        rows = [[d["deployment"], d["state"], f"{d['ready']} of {d['desired']}", d["why"]] for d in found]
        stdout().print(listing(("deployment", "state", "ready", "why"), rows, whole=("deployment", "state", "ready")))
    else:
        say("no deployments yet; make one: `millrace deploy MODEL --from TOPIC`")


@app.command(
    name="wait-ready",
    epilog=examples(("millrace wait-ready rain --within 30", "and go on when a prediction would work")),
    rich_help_panel=PANEL,
)
def wait_ready(name: Name, *, within: Within = 60, launcher: Launcher = None, json: Json = False) -> None:
    """Return when every process of a deployment does its work."""
    with ControlClient(launcher) as control:
        found = control.wait_ready(name, within=timedelta(seconds=within))
    if json:
        print_json(found)
    else:
        say(f"{name} is ready: {found['ready']} of {found['desired']} processes")


@app.command(epilog=examples(("millrace why rain", "why does it not run?")), rich_help_panel=PANEL)
def why(name: Name, *, launcher: Launcher = None, json: Json = False) -> None:
    """Say why a deployment is as it is: the cause first, then from decision to process."""
    with ControlClient(launcher) as control:
        lines = control.why(name)
    if json:
        print_json({"deployment": name, "cause": lines[0], "lines": lines})
        return
    for line in lines:
        say(line)


def show_deployment(control: ControlClient, name: str, *, json: bool) -> None:
    """How one deployment fares, slot by slot."""
    found = control.deployment(name)
    if json:
        print_json(found)
        return
    say(f"{name} is {found['state']}: {found['ready']} of {found['desired']} processes are ready")
    stdout().print(listing(("slot", "state", "node", "pid", "why"), list(map(_slot_row, found["slots"]))))


def _slot_row(slot: Mapping[str, Any]) -> list[str]:
    assignment, process = slot["assignment"] or {}, slot["process"] or {}
    return [slot["slot"], slot["state"], assignment.get("node") or "", str(process.get("pid") or ""), slot["why"]]


def _show_plan(plan: Mapping[str, Any], *, json: bool) -> None:
    if json:
        print_json(plan)
        return
    _section("changes", plan["changes"], style="bold")
    _section("at once", plan["decisions"], style="bold")
    _section("will not work", plan["faults"], style="bold red")
    if not any(plan.values()):
        say("nothing would change: it is so already")


def _section(title: str, lines: Sequence[str], *, style: str) -> None:
    if lines:
        stdout().print(Text(title, style=style))
        for line in lines:
            say(f"  {line}")


def _show_scaled_object(document: Mapping[str, Any], *, bootstrap: str | None, json: bool) -> None:
    scaled = scaled_object(document, bootstrap=bootstrap)
    print_json(scaled) if json else typer.echo(yaml.safe_dump(scaled, sort_keys=False), nl=False)


def _setting(value: bool | int) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _count(text: str) -> tuple[str, int]:
    kind, _, count = text.partition("=")
    if not count.isdecimal():
        raise RequestError(f"{text!r} is no number of processes", remedy="write for example scorers=3")
    return kind, int(count)
