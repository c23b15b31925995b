"""The job `score` on a cluster whose parts die."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from flink_cluster import running_cluster
from flink_jobs import LONGEST, Flink
from flink_streams import rows, send, written_down
from scorer_stream import MakeStream

from millrace.codec.reading import read_prediction
from millrace.core.errors import RequestError
from millrace.testing.waiting import eventually

RECORDS = 100_000


def test_a_killed_task_manager_loses_and_doubles_nothing(stream: MakeStream, flink: Flink, tmp_path: Path) -> None:
    s = stream(partitions=4)
    send(s, rows(RECORDS, seed=2))
    predictions = f"{s.name}.predictions"

    def committed() -> int:
        try:
            return len(s.records(predictions))
        except RequestError:  # the job has not made the topic yet
            return 0

    (tmp_path / "cluster").mkdir()
    with running_cluster(flink.python, tmp_path / "cluster", task_managers=2) as cluster:
        options = ("--until-end", "--parallelism", "4", "--checkpoint-secs", "0.5", "--cluster", cluster.address)
        with flink.started("score", "--file", written_down(s, s.name, tmp_path), *options) as job:
            eventually(
                lambda: committed() > 0 or job.poll() is not None,
                within=timedelta(minutes=10),
                what="first predictions",
            )
            assert job.poll() is None, flink.log.read_text()[-6000:]
            cluster.kill("task-manager-0")
            cluster.start("task-manager-2", "taskmanager.sh")
            seen = committed()
            assert job.wait(timeout=LONGEST.total_seconds()) == 0, flink.log.read_text()[-6000:]
        assert seen < RECORDS
        assert cluster.restored() >= 1
    sources = Counter(
        (source["partition"], source["offset"])
        for source in (read_prediction(value or b"")["source"] for value in s.records(predictions).values)
    )
    assert len(sources) == RECORDS
    assert set(sources.values()) == {1}
