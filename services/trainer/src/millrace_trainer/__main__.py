"""The trainer's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millrace import __version__
from millrace_trainer.app import main as start

_EPILOG: Final = """\
example:
  millrace-trainer --file rain-training.yaml

Kafka's address comes from MILLRACE_KAFKA__BOOTSTRAP, or from the local broker that `millrace up` started.
SIGTERM stops at once; a training that was at work is done again by the next trainer, from exactly the same records.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a trainer until it is stopped; the exit code says how it ended."""
    parser = argparse.ArgumentParser(
        prog="millrace-trainer",
        description="Answers retrain requests: with a better version of the model, or with why there is none.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", type=Path, metavar="PATH", required=True, help="training document, YAML or JSON")
    parser.add_argument("--version", action="version", version=f"millrace-trainer {__version__}")
    return start(file=parser.parse_args(arguments).file)


if __name__ == "__main__":
    sys.exit(main())
