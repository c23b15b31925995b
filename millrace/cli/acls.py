"""`millrace acls`: the least that each service may do on a cluster with an authoriser."""

from typing import Annotated

import typer
from rich.table import Table

from millrace.cli.options import Bootstrap, Json, examples
from millrace.cli.output import listing, print_json, remark, say, stdout
from millrace.client import Client
from millrace.client.acls import Grant, Service, find_document, give, grant
from millrace.core.errors import RequestError

app = typer.Typer()


@app.command(
    rich_help_panel="Access",
    epilog=examples(
        ("millrace acls rain.yaml", "what every service of this deployment must be allowed"),
        ("millrace acls rain --service scorer --commands", "as kafka-acls commands, for whoever may give rights"),
        ("millrace acls rain --service scorer --principal User:CN=scorer --apply", "give them now"),
    ),
)
def acls(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment, or its document: a .yaml or .json file.")],
    *,
    service: Annotated[list[Service] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    principal: Annotated[
        str | None,
        typer.Option(metavar="USER", help="User of the one service. Default: User:SERVICE-DEPLOYMENT."),
    ] = None,
    commands: Annotated[bool, typer.Option("--commands", help="Write command lines of kafka-acls.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Give them on the cluster, as a user who may.")] = False,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Print the least set of Kafka's ACLs for each service of a deployment, and give it with --apply.

    Nothing is ever taken away: remove rights that are not needed any more with
    kafka-acls --remove.
    """
    chosen = service or list(Service)
    if principal is not None and len(chosen) > 1:
        raise RequestError("one user for several services", remedy="name one service: --service scorer")
    document = find_document(deployment, bootstrap)
    grants = [grant(document, each, principal=principal) for each in chosen]
    if json:
        for each in grants:
            print_json(each)
    elif commands:
        for each in grants:
            for line in each.commands(bootstrap or "BROKER:9092"):
                say(line)
    else:
        stdout().print(_table(grants))
    if apply:
        give(Client(bootstrap).kafka, grants)
        remark(f"given: {sum(len(each.rights) for each in grants)} rights to {len(grants)} users")


def _table(grants: list[Grant]) -> Table:
    rows = [
        (each.principal, right.operation.value, right.resource.value, right.name, right.pattern.value)
        for each in grants
        for right in each.rights
    ]
    return listing(("user", "may", "on", "name", "pattern"), rows, whole=("user", "may", "on", "pattern"))
