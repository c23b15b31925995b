"""How fast the job `evidence` joins predictions with labels: one line of JSON. `bench.sh` makes the environment.

The events of two streams are joined, one five times as large as the other. Java and Python start alike in both runs, so
the difference of the two is what the records take.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit_stream import Audited, events
from flink_jobs import Flink, environment_of

from millrace.process.settings import Settings
from millrace.testing.broker import BorrowedBroker, Broker, temporary_broker

_CHUNK: Final = 50_000
_SMALLER: Final = 5


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds that a run took, of a clock on the wall and of processors."""

    wall: float
    cpu: float


def main() -> None:
    """Measure, and say how many records a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000, help="with a prediction and a label (default 300000)")
    parser.add_argument("--parallelism", type=int, default=2, help="subtasks of each operator (default 2)")
    options = parser.parse_args()
    bootstrap = os.environ.get("MILLRACE_TEST_BOOTSTRAP")
    borrowed = nullcontext(BorrowedBroker(bootstrap)) if bootstrap else temporary_broker()
    with tempfile.TemporaryDirectory(prefix="millrace-flink-bench-") as folder, borrowed as broker:
        few = options.events // _SMALLER
        start = _run(broker, Path(folder), few, options.parallelism)
        whole = _run(broker, Path(folder), options.events, options.parallelism)
    records = 2 * (options.events - few)
    figures = {
        "flink": "evidence",
        "records": 2 * options.events,
        "parallelism": options.parallelism,
        "records_per_sec": round(records / (whole.wall - start.wall)),
        "cpu_secs_per_million": round((whole.cpu - start.cpu) * 1e6 / records, 1),
        "secs": round(whole.wall, 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def _run(broker: Broker, folder: Path, count: int, parallelism: int) -> Took:
    settings = Settings(home=folder / "home")
    audited = Audited(broker, settings, f"bench-{uuid.uuid4().hex[:8]}", partitions=4)
    audited.push(folder / audited.name, rows=1_000)
    for start in range(0, count, _CHUNK):
        made = events(start, start, min(_CHUNK, count - start))
        audited.predict(made)
        audited.label(made)
    flink = Flink(
        Path(os.environ["MILLRACE_FLINK_PYTHON"]), environment_of(broker, settings), folder / f"{audited.name}.log"
    )
    document, to = audited.write_document(folder), audited.topic("by-flink")
    begun, spent = time.monotonic(), _cpu()
    flink.run("evidence", "--file", str(document), "--to", to, "--parallelism", str(parallelism))
    took = Took(time.monotonic() - begun, _cpu() - spent)
    panes = len([key for key in audited.records(to).keys if key and not key.startswith(b"progress/")])
    minutes = -(-count // 60)
    if panes != 4 * minutes:
        raise SystemExit(f"{panes} panes of 4 partitions and {minutes} minutes: the join is wrong")
    return took


def _cpu() -> float:
    """Processor seconds of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
