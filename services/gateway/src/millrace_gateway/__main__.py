"""The gateway's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millrace import __version__
from millrace_gateway.app import main as start
from millrace_gateway.app import print_haproxy_configuration

_EPILOG: Final = """\
examples:
  millrace-gateway --file rain.yaml              answer what this deployment's model answers
  millrace-gateway --file rain.yaml --slot 1     a second worker on the same ports
  millrace-gateway --name rain --name hail       two deployments from millrace.deployments

Kafka's address comes from MILLRACE_KAFKA__BOOTSTRAP, or from the local broker that `millrace up` started; addresses and
bounds from MILLRACE_GATEWAY__*. SIGTERM answers what has been asked, and stops.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a gateway until it is stopped; the exit code says how it ended."""
    parser = argparse.ArgumentParser(
        prog="millrace-gateway",
        description="Answers inference requests over REST and gRPC, and writes requests and answers to topics.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--file", type=Path, action="append", default=[], metavar="PATH", help="deployment document, YAML or JSON"
    )
    parser.add_argument(
        "--name", action="append", default=[], metavar="DEPLOYMENT", help="a deployment in millrace.deployments"
    )
    parser.add_argument("--slot", type=int, default=0, metavar="N", help="which worker this is, from 0 (default 0)")
    parser.add_argument("--version", action="version", version=f"millrace-gateway {__version__}")
    parser.add_argument(
        "--haproxy", action="store_true", help="only write HAProxy's configuration, for a gateway of several workers"
    )
    options = parser.parse_args(arguments)
    if options.haproxy:
        return print_haproxy_configuration()
    if not options.file and not options.name:
        parser.error("name at least one deployment: --file PATH or --name DEPLOYMENT")
    return start(files=options.file, names=options.name, slot=options.slot)


if __name__ == "__main__":
    sys.exit(main())
