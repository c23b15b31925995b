"""The launcher's command line."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from millrace import __version__
from millrace_launcher.app import main as start

_EPILOG: Final = """\
examples:
  millrace-launcher                         the daemon of this machine
  millrace-launcher --node b --port 9009    a second node on the same machine

`millrace up` and `millrace join` start it in the background. Kafka's address comes from MILLRACE_KAFKA__BOOTSTRAP, or
from the local broker that `millrace up` started. SIGTERM drains what it runs and leaves; killed, its processes go on
for six seconds, in which another daemon of the node takes them over.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a daemon until it is stopped; the exit code says how it ended."""
    parser = argparse.ArgumentParser(
        prog="millrace-launcher",
        description="A node's daemon: starts, watches, replaces and explains the processes of deployments.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--node", metavar="NAME", help="name of this node (default: the machine's)")
    parser.add_argument("--port", type=int, metavar="PORT", help="port of the REST API (default 9008; 0: any)")
    parser.add_argument("--version", action="version", version=f"millrace-launcher {__version__}")
    options = parser.parse_args(arguments)
    return start(node=options.node, port=options.port)


if __name__ == "__main__":
    sys.exit(main())
