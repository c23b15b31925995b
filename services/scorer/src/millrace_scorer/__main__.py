"""The scorer's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millrace import __version__
from millrace_scorer.app import main as start

_EPILOG: Final = """\
examples:
  millrace-scorer --file rain.yaml              score what the document says
  millrace-scorer --file rain.yaml --slot 1     a second worker of the same deployment
  millrace-scorer --name rain                   the document of this name in millrace.deployments

Kafka's address comes from MILLRACE_KAFKA__BOOTSTRAP, or from the local broker that `millrace up` started.
SIGTERM finishes and commits what is in hand; a second one leaves at once. Nothing is lost either way.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scorer until it is stopped; the exit code says how it ended."""
    parser = argparse.ArgumentParser(
        prog="millrace-scorer",
        description="Reads a topic of feature records and writes one prediction for each, exactly once.",
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
        help="which worker of the deployment this is, from 0; comes back with the same number (default 0)",
    )
    parser.add_argument("--version", action="version", version=f"millrace-scorer {__version__}")
    options = parser.parse_args(arguments)
    return start(file=options.file, name=options.name, slot=options.slot)


if __name__ == "__main__":
    sys.exit(main())
