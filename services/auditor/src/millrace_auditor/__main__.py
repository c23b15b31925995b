"""The auditor's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millrace import __version__
from millrace.telemetry.auditor import Role
from millrace_auditor.app import ALL
from millrace_auditor.app import main as start

_EPILOG: Final = """\
examples:
  millrace-auditor --file rain.yaml                audit what the document deploys
  millrace-auditor --file rain.yaml --slot 1       a second worker: partitions are shared, one of the two judges
  millrace-auditor --name rain --role join         only count; another process judges

Kafka's address comes from MILLRACE_KAFKA__BOOTSTRAP, or from the local broker that `millrace up` started.
SIGTERM commits what is in hand; a second one leaves at once. Nothing is lost either way.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an auditor until it is stopped; the exit code says how it ended."""
    parser = argparse.ArgumentParser(
        prog="millrace-auditor",
        description="Joins predictions with the truth, and reports how good, how different and how complete they are.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--file", type=Path, metavar="PATH", help="deployment document, YAML or JSON")
    which.add_argument("--name", metavar="DEPLOYMENT", help="name of a deployment in the topic millrace.deployments")
    parser.add_argument(
        "--slot",
        type=int,
        default=0,
        metavar="N",
        help="which auditor of the deployment this is, from 0; comes back with the same number (default 0)",
    )
    parser.add_argument("--role", type=Role, choices=list(Role), help="do only one part (default: all)")
    parser.add_argument("--version", action="version", version=f"millrace-auditor {__version__}")
    options = parser.parse_args(arguments)
    roles = ALL if options.role is None else (options.role,)
    return start(file=options.file, name=options.name, slot=options.slot, roles=roles)


if __name__ == "__main__":
    sys.exit(main())
