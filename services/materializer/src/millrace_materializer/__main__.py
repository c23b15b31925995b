"""The materializer's command line."""

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from millrace import __version__
from millrace_materializer.app import Order
from millrace_materializer.app import main as start

_EPILOG: Final = """\
examples:
  millrace-materializer --topic stations.features       the newest features of each station
  millrace-materializer --topic rain.predictions        the newest prediction of each station
  millrace-materializer --topic clicks.features --ttl-secs 86400    forget what is older than a day

Addresses come from MILLRACE_KAFKA__BOOTSTRAP and MILLRACE_REDIS__URL, or from what `millrace up --redis` started.
Several may run for one topic: they share its partitions. Any of them may be killed at any time.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a materializer until it is stopped; the exit code says how it ended."""
    parser = argparse.ArgumentParser(
        prog="millrace-materializer",
        description="Keeps the newest value of each key of a topic in Redis.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--topic", required=True, metavar="TOPIC", help="topic to keep")
    parser.add_argument(
        "--ttl-secs",
        type=_seconds,
        metavar="N",
        help="forget a value so long after its record's timestamp (default: keep it until a tombstone)",
    )
    parser.add_argument(
        "--await-topic", action="store_true", help="wait until the topic is made, instead of refusing to start"
    )
    parser.add_argument(
        "--forget", action="store_true", help="delete the topic's table instead, while no materializer of it runs"
    )
    parser.add_argument("--version", action="version", version=f"millrace-materializer {__version__}")
    options = parser.parse_args(arguments)
    return start(Order(options.topic, options.ttl_secs, is_awaited=options.await_topic), forget=options.forget)


def _seconds(text: str) -> timedelta:
    seconds = int(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return timedelta(seconds=seconds)


if __name__ == "__main__":
    sys.exit(main())
