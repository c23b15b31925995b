"""`millrace audit`: how good a deployment is, window by window."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from millrace.cli.options import Api, Bootstrap, Json, examples
from millrace.cli.output import listing, print_json, say, stdout
from millrace.client import Audit, AuditAlert, Client, ControlClient
from millrace.client.audits import alert_in, audit_in, newest_reports, open_alerts
from millrace.client.report import WINDOWS
from millrace.core.errors import RequestError

app = typer.Typer()

METRICS: Final = ("accuracy", "mae")
"""What is charted, whichever the reports have."""

_LINES: Final = 20
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_STYLES: Final = {"raised": "red", "escalated": "bold red", "cleared": "green"}


@app.command(
    rich_help_panel="Watching",
    epilog=examples(
        ("millrace audit rain", "the newest windows, and the alerts that are open"),
        ("millrace audit rain --html rain.html", "the whole story with pictures, in one file for a browser"),
        ("millrace audit rain --last 500 --json", "reports for a program"),
    ),
)
def audit(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment.")],
    *,
    last: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Windows to show. Default: 20, in a page 1000.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write a page with pictures to this file.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="The deployment's document, for the page, when it is not on the cluster.")
    ] = None,
    bootstrap: Bootstrap = None,
    api: Api = False,
    json: Json = False,
) -> None:
    """Show how good a deployment is, how much its features have drifted, and what is wrong.

    One line a window, newest last: what was predicted, how much of it is
    labelled, how good it was, and the feature that has drifted most.
    """
    if html is not None:
        write_page(Client(bootstrap).report_page(deployment, document=file, windows=last or WINDOWS), html)
        return
    audits, alerts = (_asked if api else partial(_read, Client(bootstrap)))(deployment, last or _LINES)
    if json:
        for report in audits:
            print_json(report.document())
    elif audits:
        stdout().print(overview(audits, alerts))
    else:
        say("no window is complete yet")


def _asked(deployment: str, last: int) -> tuple[list[Audit], list[AuditAlert]]:
    with ControlClient() as control:
        found = control.audits(deployment, last=last)
    return list(map(audit_in, found["windows"])), list(map(alert_in, found["alerts"]))


def _read(client: Client, deployment: str, last: int) -> tuple[list[Audit], list[AuditAlert]]:
    audits = newest_reports(each for each in client.audits(deployment) if each.segment == "*")
    return audits[-last:], open_alerts(client.alerts(deployment), audits)


def write_page(page: str, file: Path) -> None:
    """Write a page to a file, and say so.

    Raises:
        RequestError: The file cannot be written.
    """
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{file} cannot be written: {error.strerror}", remedy="name another file") from error
    say(f"{file}: {len(page) / 1e6:.1f} MB, open it in a browser")


def overview(audits: Sequence[Audit], alerts: Sequence[AuditAlert]) -> RenderableType:
    """A line and a table of the windows, and the open alerts."""
    parts: list[RenderableType] = []
    for metric in METRICS:
        known = [r.performance[metric].value for r in audits if metric in r.performance]
        values = [value for value in known if value is not None]
        if values:
            parts.append(Text(f"{metric} {chart(values)} {values[-1]:.3f}"))
    rows = [_row(report) for report in audits]
    columns = ("window", "version", "stage", "predictions", "labelled", "performance", "most drifted")
    parts.append(
        listing(columns, rows, numbers=("version", "predictions", "labelled"), whole=("window", "performance"))
    )
    parts += [_alert_line(alert) for alert in alerts]
    return Group(*parts)


def chart(values: Sequence[float]) -> str:
    """A line of blocks, lowest to highest. Equal values are all in the middle.

    >>> chart([0.5, 0.75, 1.0])
    '▁▄█'
    """
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[3] * len(values)
    return "".join(_BLOCKS[int((value - low) / (high - low) * (len(_BLOCKS) - 1))] for value in values)


def _row(report: Audit) -> tuple[str | Text, ...]:
    counts, drift = report.counts, report.drift[0] if report.drift else None
    drifted = "" if drift is None or drift.effect is None else f"{drift.feature} {drift.effect:.3f}"
    return (
        f"{report.window.start:%Y-%m-%d %H:%M}",
        str(report.version),
        report.stage,
        f"{counts['predictions']:,}",
        f"{report.coverage.overall:.0%}",
        _performance(report),
        drifted,
    )


def _performance(report: Audit) -> Text:
    for name in METRICS:
        figure = report.performance.get(name)
        if figure is not None and figure.value is not None:
            between = "" if figure.lo is None or figure.hi is None else f" ({figure.lo:.3f} to {figure.hi:.3f})"
            style = "" if report.stage != "closed" else "dim"  # labels are still coming
            return Text(f"{figure.value:.3f}{between}", style=style)
    return Text("-", style="dim")


def _alert_line(alert: AuditAlert) -> Text:
    subject = " ".join(filter(None, (alert.feature, alert.metric)))
    effect = "" if alert.effect is None else f", effect {alert.effect:.3g}"
    since = f"{alert.windows[0]:%Y-%m-%d %H:%M}" if alert.windows else ""
    text = Text.assemble((alert.state, _STYLES[alert.state]), f" {alert.signal} {subject}{effect}, window {since}")
    return text if not alert.note else text.append(f": {alert.note}", style="dim")
