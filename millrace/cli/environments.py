"""`millrace env`: whether nodes have the libraries that a deployment needs, and installing them."""

from typing import Annotated

import typer

from millrace.cli.options import Json, Launcher, examples
from millrace.cli.output import listing, print_json, say, stdout
from millrace.client.control import ControlClient

app = typer.Typer()
_env = typer.Typer(no_args_is_help=True, help="Compare the libraries of nodes with what deployments need.")
app.add_typer(
    _env,
    name="env",
    epilog=examples(("millrace env check rain", "which node is unfit?"), ("millrace env sync rain", "make them fit")),
    rich_help_panel="Nodes and processes",
)

Deployment = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Whose `scale.libraries`.")]


@_env.command(epilog=examples(("millrace env check rain", "which node is unfit, and which library is it?")))
def check(name: Deployment, *, launcher: Launcher = None, json: Json = False) -> None:
    """Say for each node whether it has exactly the versions that are needed."""
    with ControlClient(launcher) as control:
        found = control.environment(name)
    if json:
        for node in found:
            print_json(node)
        return
    rows = [[node["node"], "fit" if node["fit"] else "unfit", node["why"]] for node in found]
    stdout().print(listing(("node", "fitness", "why"), rows, whole=("node", "fitness")))


@_env.command(
    epilog=examples(
        ("millrace env sync rain", "install what is needed on every unfit node"),
        ("millrace env sync rain --node b", "on one node"),
    )
)
def sync(
    name: Deployment,
    *,
    node: Annotated[str | None, typer.Option(metavar="NODE", help="Only here.", show_default="every unfit one")] = None,
    launcher: Launcher = None,
    json: Json = False,
) -> None:
    """Install the versions that a deployment needs, into the environment of the nodes' daemons.

    uv does it, or pip where there is no uv; MILLRACE_LAUNCHER__INSTALLER
    on the node names another command.
    """
    with ControlClient(launcher) as control:
        unfit = [node] if node else [each["node"] for each in control.environment(name) if not each["fit"]]
        done = [control.sync_environment(name, each) for each in unfit]
    for each in done:
        installed = " ".join(f"{library}=={version}" for library, version in each["installed"].items())
        print_json(each) if json else say(f"{each['node']}: {installed or 'nothing to install'}")
    if not done and not json:
        say("every node is fit")
