"""How fast the batch job is on Spark: one line of JSON. `bench.sh` makes the environment and calls this.

    bash topologies/spark/bench.sh --input DIR --model BUNDLE --output DIR

The cluster is a master and executors as processes of this machine, with one core each. Its start, some seconds of Java
and Python, stands apart from the rows a second; what the executors' own start takes (imports, the model) is in them.
"""

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from millrace.serving.bundle import open_bundle
from millrace_batch.adapters.spark import Cluster
from millrace_batch.app import Resources, run_job
from millrace_batch.logic.job import Job
from millrace_batch.logic.progress import Progress

_MEMORY_MIB: Final = 1024
_CONF: Final = {"spark.ui.enabled": "false", "spark.log.level": "ERROR"}


class Watch:
    """When the cluster stood, and the processor time of the driver and of all that it has started."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._pids: list[int] = []
        self._secs: dict[int, float] = {}
        self.start_secs = 0.0
        self.start_cpu_secs = 0.0

    @property
    def cpu_secs(self) -> float:
        """Seconds of user and system time so far, as seen whenever somebody looked."""
        return sum(self._secs.values())

    def started(self, pids: list[int]) -> None:
        """The cluster stands; what it took so far is its start."""
        self._pids, self.start_secs = pids, time.monotonic() - self._begun
        self.look()
        self.start_cpu_secs = self.cpu_secs

    def look(self, _: Progress | None = None) -> None:
        """Read the clocks of the processes that there are; those that have ended keep what was read last."""
        for pid in self._pids:
            with suppress(psutil.NoSuchProcess):
                driver = psutil.Process(pid)
                for process in (driver, *driver.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        self._secs[process.pid] = times.user + times.system


def main() -> None:
    """Run the job once, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, metavar="URI", help="a file or a folder")
    parser.add_argument("--model", type=Path, required=True, metavar="BUNDLE", help="folder of an exported model")
    parser.add_argument("--output", required=True, metavar="URI", help="a folder that is empty or does not exist")
    parser.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="copy this column")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="executors of one core (default 2)")
    parser.add_argument("--split-rows", type=int, default=250_000, metavar="N", help="rows of a part (default 250000)")
    options = parser.parse_args()

    bundle = open_bundle(options.model)
    job = Job(
        input=options.input,
        output=options.output,
        digest=bundle.digest,
        model=f"{bundle.manifest.name}/1",
        keep=tuple(options.keep),
        split_rows=options.split_rows,
    )
    master = f"local-cluster[{options.workers},1,{_MEMORY_MIB}]"
    cluster = Cluster(os.environ["MILLRACE_SPARK_PYTHON"], master, _CONF)
    watch = Watch()
    resources = Resources(bundle.directory, cluster=cluster)
    done = run_job(job, resources, on_start=watch.started, on_progress=watch.look)
    figures = {
        "batch": "millrace batch on Spark",
        "workers": options.workers,
        "rows": done.read,
        "rows_per_sec": round(done.rows_per_sec),
        "cpu_secs_per_million": round((watch.cpu_secs - watch.start_cpu_secs) * 1e6 / done.read, 2),
        "start_secs": round(watch.start_secs, 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
