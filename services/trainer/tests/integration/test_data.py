"""What a training is made of, on the real broker: exact ranges, newest labels, a fingerprint."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression
from trainer_stream import ENDS, STARTED_MS, Loop

from millrace.core.errors import RequestError
from millrace.process.clock import SystemClock
from millrace.process.retraining import Accepted, OffsetRange
from millrace.serving.export import Origin, export
from millrace.serving.streams import StreamCodec
from millrace.serving.training import EVENT_ID, EVENT_TIME, LABEL
from millrace_trainer.adapters.dataset import Materialised, Materialiser
from millrace_trainer.logic.window import WindowPolicy


def accepted(loop: Loop, rows: int, *, labels: int) -> Accepted:
    """All features of a stream, and so many labels of each partition."""
    share = rows // loop.partitions
    return Accepted(
        loop_id="a",
        model=loop.name,
        version=1,
        at=datetime.now(UTC),
        features=tuple(_range(loop.features, p, share) for p in range(loop.partitions)),
        labels=tuple(_range(loop.labels, p, labels) for p in range(loop.partitions)),
        seed=0,
    )


def _range(topic: str, partition: int, following: int) -> OffsetRange:
    return OffsetRange(topic=topic, partition=partition, first_offset=0, next_offset=following)


def materialise(loop: Loop, ranges: Accepted, folder: Path) -> Materialised:
    folder.mkdir()
    with loop.registry() as registry, StreamCodec(loop.training().deployment(), SystemClock()) as codec:
        _, bundle = registry.open(loop.name)
        materialiser = Materialiser(
            kafka=loop.broker.kafka,
            decoder=codec.decoder(bundle.signature),
            signature=bundle.signature,
            window=WindowPolicy(),
            label_events=10_000,
            keep_alive=lambda: None,
        )
        return materialiser.materialise(ranges, folder)


def test_the_rows_are_those_of_the_ranges_with_their_newest_labels(loop: Loop, tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=(1000, 3)).astype(np.float32)
    loop.send_features(values)
    loop.send_truth(["no", "yes"] * 450)  # the last 100 have no label
    loop.send_truth(["maybe", None], revision=1, first=10)
    made = materialise(loop, accepted(loop, 1000, labels=451), tmp_path / "a")
    assert (made.facts.rows, made.facts.unlabelled, made.facts.invalid) == (899, 101, 0)
    assert (made.facts.train, made.facts.holdout) == (674, 225)
    train, holdout = pq.read_table(made.train), pq.read_table(made.holdout)
    assert max(train[EVENT_TIME].to_pylist()) < min(holdout[EVENT_TIME].to_pylist())
    truths = dict(zip(train[EVENT_ID].to_pylist(), train[LABEL].to_pylist(), strict=True))
    assert truths[loop.event(10)] == "maybe"
    assert loop.event(11) not in truths
    assert truths[loop.event(12)] == "no"
    at = train[EVENT_TIME].to_pylist().index(STARTED_MS + 7_000)
    assert [train[name][at].as_py() for name in "abc"] == values[7].tolist()


def test_the_same_ranges_are_the_same_rows_and_labels_that_came_later_do_not_count(loop: Loop, tmp_path: Path) -> None:
    loop.send(1000)
    ranges = accepted(loop, 1000, labels=500)
    before = materialise(loop, ranges, tmp_path / "a").facts
    loop.send_truth(["maybe"] * 10, revision=1)
    assert materialise(loop, ranges, tmp_path / "b").facts == before
    after = materialise(loop, accepted(loop, 1000, labels=505), tmp_path / "c").facts
    assert after.fingerprint != before.fingerprint


def test_a_range_that_is_not_in_the_log_is_refused(loop: Loop, tmp_path: Path) -> None:
    loop.send(100)
    with pytest.raises(RequestError, match="holds offsets 0 to 50 now, not 0 to 51"):
        materialise(loop, accepted(loop, 100, labels=51), tmp_path / "a")


def test_a_bundle_of_the_function_is_stamped_with_its_ranges(loop: Loop) -> None:
    loop.send(1000)
    loop.request()
    with loop.running(loop.training("functions:bundle")):
        loop.wait_for(*ENDS)
    assert loop.steps()[-1] == "promoted"
    with loop.registry() as registry:
        _, bundle = registry.open(loop.name)
    assert {each.topic for each in bundle.manifest.training.topics} == {loop.features, loop.labels}
    assert bundle.manifest.training.rows == 750


def test_a_regression_is_compared_by_its_errors(loop: Loop, tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(1000, 3)).astype(np.float32)
    other = LinearRegression().fit(values, values[:, 2])
    sample = {name: values[:, column] for column, name in enumerate("abc")}
    bundle = export(other, sample, origin=Origin(loop.name, datetime.now(UTC)), directory=tmp_path / "regression")
    with loop.registry() as registry:
        registry.set_alias("champion", registry.push(bundle.directory).key)
    loop.send_features(values)
    loop.send_truth((values @ np.array([1.0, 2.0, 0.0])).tolist())
    loop.request()
    with loop.running(loop.training("functions:fit_values")):
        loop.wait_for(*ENDS)
    done = loop.completed()
    assert (loop.steps()[-1], done.evaluation.test, done.evaluation.metric) == ("promoted", "paired_t", "mae")
    assert done.evaluation.candidate.value < 1e-3
    assert done.evaluation.gain.lower > 1


def test_a_window_of_the_past_is_all_that_is_read(loop: Loop) -> None:
    loop.send(1000)
    since = datetime.fromtimestamp(STARTED_MS / 1000, UTC) + timedelta(seconds=600)
    loop.request(since=since)
    with loop.running():
        loop.wait_for(*ENDS)
    assert loop.completed().dataset.rows == 400


def test_records_that_cannot_be_read_are_counted_and_no_labels_at_all_are_said(loop: Loop, tmp_path: Path) -> None:
    loop.send_features(np.full((10, 3), np.nan, np.float32))
    with pytest.raises(RequestError, match="none of 0 records has a label"):
        materialise(loop, accepted(loop, 10, labels=0), tmp_path / "a")
    loop.send_features(np.ones((990, 3), np.float32))
    loop.send_truth(["no", "yes"] * 500)
    made = materialise(loop, accepted(loop, 1000, labels=500), tmp_path / "b")
    assert (made.facts.rows, made.facts.invalid) == (990, 10)
