"""Control topics on a real broker: what a view sees, and that writers of one subject never work at cross purposes."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import orjson
import pytest
from confluent_kafka import Producer

from millrace.core.errors import RequestError
from millrace.kafka import control_writer
from millrace.kafka.control import Changes, ControlView
from millrace.kafka.control_writer import Change, ControlWriter, Decide, Put, Tables
from millrace.kafka.history import HistoryRecord, read_history, verify
from millrace.process.settings import KafkaSettings
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

Value = Mapping[str, object] | None


@pytest.fixture
def kafka(broker: Broker) -> KafkaSettings:
    return broker.kafka


@pytest.fixture
def models(topic: TopicFactory) -> str:
    return topic("models", cleanup_policy="compact")


@pytest.fixture
def history(topic: TopicFactory) -> str:
    return topic("history")


def transactional(kafka: KafkaSettings, topic: str, **values: Value) -> Producer:
    """A producer in the middle of a transaction that has written these values."""
    producer = Producer(kafka.client(**{"transactional.id": f"{topic}-{'-'.join(values)}"}))
    producer.init_transactions(10)
    producer.begin_transaction()
    for key, value in values.items():
        producer.produce(topic, None if value is None else orjson.dumps(value), key)
    producer.flush(10)
    return producer


def commit(kafka: KafkaSettings, topic: str, **values: Value) -> None:
    transactional(kafka, topic, **values).commit_transaction(10)


@contextmanager
def view_of(kafka: KafkaSettings, topic: str) -> Iterator[ControlView]:
    with ControlView(kafka, topic) as view:
        yield view


def becomes(view: ControlView, table: Mapping[str, Value]) -> bool:
    """Whether a view comes to hold this. A commit is answered before its marker lets readers see it."""
    return eventually(lambda: view.refresh() == table, what=str(table))


class TestView:
    def test_an_empty_topic_is_an_empty_table(self, kafka: KafkaSettings, models: str) -> None:
        with view_of(kafka, models) as view:
            assert view.refresh() == {}

    def test_holds_the_newest_values_and_no_deleted_keys(self, kafka: KafkaSettings, models: str) -> None:
        commit(kafka, models, a={"n": 1}, b={"n": 1}, c={"n": 1})
        commit(kafka, models, b={"n": 2}, c=None)
        with view_of(kafka, models) as view:
            assert becomes(view, {"a": {"n": 1}, "b": {"n": 2}})
            assert view.get("b") == {"n": 2}
            assert view.get("c") is None

    def test_sees_neither_open_nor_aborted_transactions(self, kafka: KafkaSettings, models: str) -> None:
        commit(kafka, models, a={"n": 1})
        transactional(kafka, models, a={"n": 2}).abort_transaction(10)
        still_open = transactional(kafka, models, a={"n": 3})
        with view_of(kafka, models) as view:
            assert becomes(view, {"a": {"n": 1}})
            assert view.refresh() == {"a": {"n": 1}}
            still_open.commit_transaction(10)
            assert becomes(view, {"a": {"n": 3}})

    def test_only_aborted_records_are_an_empty_table(self, kafka: KafkaSettings, models: str) -> None:
        transactional(kafka, models, a={"n": 2}).abort_transaction(10)
        with view_of(kafka, models) as view:
            assert view.refresh() == {}

    def test_a_table_is_a_snapshot(self, kafka: KafkaSettings, models: str) -> None:
        with view_of(kafka, models) as view:
            before = view.refresh()
            commit(kafka, models, a={"n": 1})
            assert becomes(view, {"a": {"n": 1}})
            assert before == {}

    def test_reads_what_it_waits_for(self, kafka: KafkaSettings, models: str) -> None:
        with view_of(kafka, models) as view:
            commit(kafka, models, a={"n": 1})
            assert view.wait_for(0) == {"a": {"n": 1}}

    def test_follows_in_the_background(self, kafka: KafkaSettings, models: str) -> None:
        commit(kafka, models, a={"n": 1})
        seen: list[Changes] = []
        with view_of(kafka, models) as view:
            assert becomes(view, {"a": {"n": 1}})
            view.follow(seen.append)
            commit(kafka, models, a={"n": 2})
            commit(kafka, models, a=None, b={"n": 1})
            assert eventually(lambda: view.get("b")) == {"n": 1}
            assert becomes(view, {"b": {"n": 1}})
        merged: dict[str, Value] = {}
        for changes in seen:
            merged.update(changes)
        assert merged == {"a": None, "b": {"n": 1}}

    def test_a_value_that_is_no_object_is_named_and_left_out(self, kafka: KafkaSettings, models: str) -> None:
        producer = Producer(kafka.client())
        producer.produce(models, b"{", "a")
        producer.produce(models, b"[1]", "b")
        producer.produce(models, b'{"n": 1}', "c")
        assert producer.flush(10) == 0
        with view_of(kafka, models) as view:
            assert view.refresh() == {"c": {"n": 1}}
            assert view.unreadable == {"a", "b"}

    def test_a_missing_topic_is_said(self, kafka: KafkaSettings) -> None:
        with pytest.raises(RequestError, match=r"no topic 'no\.such\.topic'"):
            ControlView(kafka, "no.such.topic")


def next_version(topic: str) -> Decide[int]:
    """Decides to add the version after the newest one."""

    def decide(tables: Tables) -> Change[int]:
        version = 1 + max((int(key.removeprefix("m/")) for key in tables[topic]), default=0)
        return Change([Put(topic, f"m/{version}", {"version": version})], version)

    return decide


def records_of(kafka: KafkaSettings, history: str, *, count: int) -> list[HistoryRecord]:
    """The history, once it has `count` records."""
    return eventually(lambda: (found := list(read_history(kafka, topic=history)))[count - 1 :] and found)


class TestWriter:
    @pytest.fixture
    def writer(self, kafka: KafkaSettings, models: str, history: str) -> Iterator[ControlWriter]:
        with ControlWriter(kafka, who="tester", topics=[models], history=history, now=lambda: 12.5) as writer:
            yield writer

    def test_a_change_can_be_read_back(self, kafka: KafkaSettings, models: str, writer: ControlWriter) -> None:
        applied = writer.apply("model/m", "push version", next_version(models))
        with view_of(kafka, models) as view:
            view.wait_for(applied.next_offsets[models] - 1)
            assert view.table == {"m/1": {"version": 1}}
        assert applied.outcome == 1

    def test_the_history_says_who_did_what(
        self, kafka: KafkaSettings, models: str, history: str, writer: ControlWriter
    ) -> None:
        writer.apply("model/m", "push version", next_version(models))
        writer.apply("model/m", "drop version", lambda _: Change([Put(models, "m/1", None)], "gone"))
        first, second = records_of(kafka, history, count=2)
        assert verify([first, second]) is None
        assert (first.entry.who, first.entry.what, first.entry.at_ms) == ("tester", "push version", 12_500)
        assert (first.entry.before, first.entry.after) == (
            {models: {"m/1": None}},
            {models: {"m/1": {"version": 1}}},
        )
        assert (second.entry.before, second.entry.after) == (first.entry.after, first.entry.before)
        assert (first.entry.result, second.entry.result) == (1, "gone")

    def test_a_refused_change_leaves_no_trace(
        self, kafka: KafkaSettings, models: str, history: str, writer: ControlWriter
    ) -> None:
        def refuse(_: Tables) -> Change[None]:
            raise RequestError("not this one")

        with pytest.raises(RequestError, match="not this one"):
            writer.apply("model/m", "push version", refuse)
        assert writer.apply("model/m", "look", lambda _: Change([], None)).history is None
        assert list(read_history(kafka, topic=history)) == []

    def test_waits_for_another_subjects_open_transaction(
        self, kafka: KafkaSettings, models: str, writer: ControlWriter
    ) -> None:
        # The other subject's transaction lies before our committed version and hides it from readers of committed
        # records. A writer that took the last stable offset for the end would allocate version 1 twice.
        other = transactional(kafka, models, **{"m/0": {"version": 0}})
        commit(kafka, models, **{"m/1": {"version": 1}})
        outcomes: list[int] = []
        thread = threading.Thread(
            target=lambda: outcomes.append(writer.apply("model/m", "push version", next_version(models)).outcome)
        )
        thread.start()
        with view_of(kafka, models) as view:
            assert view.refresh() == {}
            thread.join(0.3)
            assert thread.is_alive()
            other.commit_transaction(10)
            thread.join(10)
        assert outcomes == [2]

    def test_racing_writers_never_allocate_a_version_twice(
        self, kafka: KafkaSettings, models: str, history: str
    ) -> None:
        writers, each = 3, 5
        allocated: list[int] = []
        together = threading.Barrier(writers)

        def run(who: str) -> None:
            with ControlWriter(kafka, who=who, topics=[models], history=history) as writer:
                together.wait(30)
                changes = (writer.apply("model/m", "push version", next_version(models)) for _ in range(each))
                allocated.extend(change.outcome for change in changes)

        threads = [threading.Thread(target=run, args=(f"writer-{number}",)) for number in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        expected = list(range(1, writers * each + 1))
        assert sorted(allocated) == expected
        with view_of(kafka, models) as view:
            assert becomes(view, {f"m/{version}": {"version": version} for version in expected})
        records = records_of(kafka, history, count=len(expected))
        assert [record.entry.result for record in records] == expected
        assert verify(records) is None

    def test_a_fenced_writer_begins_again(self, kafka: KafkaSettings, models: str, history: str) -> None:
        with (
            ControlWriter(kafka, who="slow", topics=[models], history=history) as slow,
            ControlWriter(kafka, who="fast", topics=[models], history=history) as fast,
        ):
            asked: list[int] = []

            def decide(tables: Tables) -> Change[int]:
                asked.append(len(tables[models]))
                if len(asked) == 1:
                    fast.apply("model/m", "push version", next_version(models))
                return next_version(models)(tables)

            assert slow.apply("model/m", "push version", decide).outcome == 2
            assert asked == [0, 1]

    def test_a_commit_whose_answer_is_lost_is_not_made_again(
        self, kafka: KafkaSettings, models: str, history: str, writer: ControlWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit_really = control_writer._SubjectProducer.commit
        answers_lost: list[int] = []

        def commit_unheard(producer: control_writer._SubjectProducer) -> None:
            commit_really(producer)
            if not answers_lost:
                answers_lost.append(1)
                raise control_writer._OutrunError

        monkeypatch.setattr(control_writer._SubjectProducer, "commit", commit_unheard)
        assert writer.apply("model/m", "push version", next_version(models)).outcome == 1
        assert answers_lost == [1]
        with view_of(kafka, models) as view:
            assert becomes(view, {"m/1": {"version": 1}})
        assert len(records_of(kafka, history, count=1)) == 1

    def test_a_subject_that_nobody_else_writes_needs_one_attempt(self, models: str, writer: ControlWriter) -> None:
        asked: list[int] = []

        def decide(tables: Tables) -> Change[int]:
            asked.append(1)
            return next_version(models)(tables)

        for _ in range(3):
            writer.apply("model/m", "push version", decide)
        assert len(asked) == 3
