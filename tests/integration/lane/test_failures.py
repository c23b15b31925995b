"""What becomes of a transaction when a worker, a producer or the broker fails in the middle of it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.core.lane import Outcome
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.kafka.lane import LaneSpec, open_lane
from millrace.kafka.lane.transactional import TransactionalWriter
from millrace.process.deployment import GroupProtocol
from millrace.process.settings import KafkaSettings, SaslMechanism, SecurityProtocol
from millrace.testing.broker import QUICK_JAVA, Broker, temporary_broker
from millrace.testing.contracts.kafka_world import KafkaWorld, MakeWorld
from millrace.testing.contracts.lane import PARTITIONS, Worker, finish, numbered, values_of
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually

LONG = timedelta(seconds=60)
"""A transaction timeout that no test reaches."""

LIMIT = timedelta(seconds=30)


class WorkerProcess:
    """A worker that can be killed and frozen. See `worker.py`."""

    def __init__(self, world: KafkaWorld, slot: int) -> None:
        session = world.spec.session_timeout or timedelta(0)
        order = {
            "bootstrap": world.kafka.bootstrap,
            "deployment": world.spec.deployment,
            "slot": slot,
            "topic": world.spec.topic,
            "output_topic": world.output_topic,
            "protocol": world.spec.group_protocol.value,
            "session_secs": session.total_seconds(),
            "transaction_secs": world.spec.transaction_timeout.total_seconds(),
            "body": world.spec.body.value,
        }
        script = Path(__file__).with_name("worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), json.dumps(order)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.answer()

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def signal(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def world_on(broker: LocalBroker) -> Iterator[KafkaWorld]:
    """A world on a broker of the test's own."""
    kafka = broker.kafka
    kept = {"retention.ms": "-1"}
    Admin(kafka).ensure_topics(
        [TopicSpec("own.features", PARTITIONS, kept), TopicSpec("own.predictions", PARTITIONS, kept)]
    )
    with ExitStack() as cleanup:
        yield KafkaWorld(kafka, LaneSpec("own", 0, "own.features"), "own.predictions", cleanup)


class TestWorkers:
    @pytest.mark.parametrize("protocol", [GroupProtocol.CONSUMER, GroupProtocol.CLASSIC])
    def test_the_late_commit_of_a_stale_member_is_refused(self, make_world: MakeWorld, protocol: GroupProtocol) -> None:
        world = make_world(group_protocol=protocol, transaction_timeout=LONG)
        world.produce(numbered(40, partitions=PARTITIONS))
        with WorkerProcess(world, slot=0) as stale:
            assert stale.ask("hold 40") == "held"
            assert stale.ask("write") == "written"
            stale.signal(signal.SIGSTOP)
            successor = Worker(world, slot=1)
            successor.hold(40)  # the stale worker's session is over: everything is somebody else's
            successor.write()
            assert successor.lane.commit() is Outcome.COMMITTED
            stale.signal(signal.SIGCONT)
            assert stale.ask("commit") == "aborted"
        finish(world, 40, successor)

    def test_a_killed_worker_is_followed_at_once_in_its_slot(self, make_world: MakeWorld) -> None:
        world = make_world(transaction_timeout=LONG)
        world.produce(numbered(40))
        with WorkerProcess(world, slot=0) as killed:
            killed.ask("hold 40")
            killed.ask("write")
            assert killed.ask("commit") == "committed"
            world.produce(numbered(40, start=40))
            # Both producers have something to settle: the first its markers, the second an open transaction.
            killed.ask("hold 40")
            killed.ask("write")
            eventually(world.open_transactions, within=LIMIT, what="records of the second transaction")
            killed.signal(signal.SIGKILL)
            killed.process.wait()
        successor = Worker(world, slot=0)
        eventually(lambda: not world.open_transactions(), within=timedelta(seconds=5), what="the end of the stall")
        finish(world, 80, successor)

    def test_a_fenced_worker_goes_back_and_takes_its_identity_again(self, make_world: MakeWorld) -> None:
        world = make_world()
        world.produce(numbered(20))
        worker = Worker(world)
        worker.hold(20)
        worker.write()
        for transactional_id in world.spec.transactional_ids:
            TransactionalWriter(world.kafka, world.spec, transactional_id).close()
        assert worker.lane.commit() is Outcome.ABORTED
        finish(world, 20, worker)
        # The other identities were lost as well, which shows as soon as they have their turns.
        world.produce(numbered(20, start=20))
        finish(world, 40, worker)
        assert worker.lane.stats().producers_rebuilt == len(world.spec.transactional_ids)

    def test_two_workers_in_one_slot_end_with_words_and_without_duplicates(self, make_world: MakeWorld) -> None:
        world = make_world()
        first, second = Worker(world, 0), Worker(world, 0)

        def one_gives_up() -> bool:
            world.produce(numbered(PARTITIONS, partitions=PARTITIONS))
            for worker in (first, second):
                worker.poll()
                worker.write()
            for worker in (first, second):
                worker.lane.commit()
            return False

        with pytest.raises(FatalError, match="same slot"):
            eventually(one_gives_up, within=timedelta(seconds=60))


class TestACommitOnItsWay:
    """With a transaction written that stands on it."""

    def test_of_a_fenced_producer_takes_the_next_one_with_it(self, make_world: MakeWorld) -> None:
        world = make_world()
        world.produce(numbered(40))
        worker = Worker(world)
        worker.hold(limit=10)
        worker.write()
        TransactionalWriter(world.kafka, world.spec, world.spec.transactional_ids[0]).close()
        worker.lane.begin_commit()
        worker.hold(limit=10)
        worker.write()
        assert worker.lane.await_commit().outcome is Outcome.ABORTED
        finish(world, 40, worker)
        assert worker.lane.stats().producers_rebuilt == 1, "the other producers could go on"

    def test_stays_when_the_next_producer_is_fenced(self, make_world: MakeWorld) -> None:
        world = make_world()
        world.produce(numbered(40))
        worker = Worker(world)
        first = worker.hold(limit=10)
        worker.write()
        worker.lane.begin_commit()
        worker.hold(limit=10)
        worker.write()
        TransactionalWriter(world.kafka, world.spec, world.spec.transactional_ids[1]).close()
        assert worker.lane.await_commit().outcome is Outcome.COMMITTED
        worker.lane.begin_commit()
        assert worker.lane.await_commit().outcome is Outcome.ABORTED
        assert not set(worker.hold()) & set(first)
        finish(world, 40, worker)

    def test_of_a_transaction_that_took_too_long_takes_the_next_one_with_it(self, make_world: MakeWorld) -> None:
        world = make_world(transaction_timeout=timedelta(seconds=1))
        world.produce(numbered(40))
        worker = Worker(world)
        worker.hold(limit=10)
        worker.write()
        eventually(world.open_transactions, within=LIMIT, what="records of the transaction")
        eventually(lambda: not world.open_transactions(), within=LIMIT, what="the broker's abort")
        worker.lane.begin_commit()
        worker.hold(limit=10)
        worker.write()
        assert worker.lane.await_commit().outcome is Outcome.ABORTED
        assert world.outputs() == []
        finish(world, 40, worker)

    def test_of_a_stale_member_is_refused(self, make_world: MakeWorld) -> None:
        world = make_world(transaction_timeout=LONG)
        world.produce(numbered(40, partitions=PARTITIONS))
        with WorkerProcess(world, slot=0) as stale:
            assert stale.ask("hold 40") == "held"
            assert stale.ask("write") == "written"
            stale.signal(signal.SIGSTOP)
            successor = Worker(world, slot=1)
            successor.hold(40)
            successor.write()
            assert successor.lane.commit() is Outcome.COMMITTED
            stale.signal(signal.SIGCONT)
            # It polls while it commits, and so learns in the middle of it that its partitions are lost.
            assert stale.ask("begin") == "begun"
            assert stale.ask("poll") == "polled"
            assert stale.ask("await") == "aborted"
        finish(world, 40, successor)


class TestTransactions:
    def test_one_that_takes_too_long_is_never_seen(self, make_world: MakeWorld) -> None:
        world = make_world(transaction_timeout=timedelta(seconds=1))
        world.produce(numbered(20))
        worker = Worker(world)
        worker.hold(20)
        worker.write()
        eventually(world.open_transactions, within=LIMIT, what="records of the transaction")
        eventually(lambda: not world.open_transactions(), within=LIMIT, what="the broker's abort")
        assert worker.lane.commit() is Outcome.ABORTED
        assert world.outputs() == []
        finish(world, 20, worker)
        written = sum(ends.high for ends in Admin(world.kafka).ends([world.output_topic]).values())
        assert written >= 40, "the aborted copies lie in the log"

    def test_an_output_that_the_topic_refuses_is_fatal_and_named(
        self, make_world: MakeWorld, topic: TopicFactory
    ) -> None:
        world = replace(make_world(), output_topic=topic("small", PARTITIONS, max_message_bytes="1000"))
        world.produce(numbered(1))
        worker = Worker(world)
        worker.hold()
        [records] = worker.held
        large = OutputBatch(world.output_topic, records.partitions, records.timestamps_ms, records.keys, [b"x" * 5_000])
        worker.lane.write([large], records.next_offsets())
        with pytest.raises(FatalError, match=r"larger than its topic takes.*max\.message\.bytes"):
            worker.lane.commit()

    def test_a_full_producer_queue_is_waited_for(self, make_world: MakeWorld) -> None:
        world = make_world()
        world.produce(numbered(10))
        worker = Worker(world)
        worker.hold(10)
        records = RecordBatch.concat(worker.held)
        copies = 30_000  # more than the queue holds
        outputs = OutputBatch(
            world.output_topic,
            records.partitions.repeat(copies),
            records.timestamps_ms.repeat(copies),
            [key for key in records.keys for _ in range(copies)],
            [b"%d" % n for n in range(len(records) * copies)],
        )
        worker.lane.write([outputs], records.next_offsets())
        assert worker.lane.commit() is Outcome.COMMITTED
        # The commit is decided; that readers see it, of so many records, takes the broker a moment longer.
        written = eventually(world.outputs, within=LIMIT, what="the outputs")
        assert [int(record.value or b"") for record in written] == list(range(10 * copies))


def finish_after_outage(world: KafkaWorld, count: int, worker: Worker) -> None:
    """As `finish`, with a broker that may not be back yet."""

    def through() -> bool:
        try:
            return worker.turn() == 0 and len(values_of(world.outputs())) >= count
        except TransientError:
            return False

    eventually(through, within=timedelta(seconds=60))
    assert values_of(world.outputs()) == values_of(numbered(count))


class TestBroker:
    def test_killed_and_restarted_in_mid_transaction(self, own_broker: LocalBroker) -> None:
        with world_on(own_broker) as world:
            world.produce(numbered(40, partitions=PARTITIONS))
            worker = Worker(world)
            worker.hold(40)
            worker.write()
            own_broker.kill()
            with pytest.raises(TransientError, match="cannot be reached"):
                eventually(lambda: bool(worker.poll().records), within=LIMIT)
            own_broker.start()
            worker.lane.commit()  # either outcome is right, as long as the records agree with it
            finish_after_outage(world, 40, worker)

    def test_killed_and_restarted_while_a_commit_is_on_its_way(self, own_broker: LocalBroker) -> None:
        with world_on(own_broker) as world:
            world.produce(numbered(80, partitions=PARTITIONS))
            worker = Worker(world)
            worker.hold(20, limit=20)
            worker.write()
            worker.lane.begin_commit()
            own_broker.kill()
            own_broker.start()
            worker.lane.await_commit()  # either outcome is right, as long as the records agree with it
            finish_after_outage(world, 80, worker)


class TestOpening:
    def test_a_topic_that_does_not_exist_is_named(self, broker: Broker) -> None:
        with pytest.raises(RequestError, match=r"no topic 'missing\.features'"):
            open_lane(broker.kafka, LaneSpec("test", 0, "missing.features"))

    def test_refused_credentials_are_named(self, tmp_path: Path) -> None:
        guarded = {
            "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": (
                "org.apache.kafka.common.security.plain.PlainLoginModule required "
                'username="broker" password="b" user_broker="b" user_miller="flour";'
            ),
        }
        with temporary_broker(LocalBroker(tmp_path, java=QUICK_JAVA, properties=guarded)) as broker:
            kafka = KafkaSettings.model_validate(
                {
                    "bootstrap": broker.bootstrap,
                    "security_protocol": SecurityProtocol.SASL_PLAINTEXT,
                    "sasl_mechanism": SaslMechanism.PLAIN,
                    "sasl_username": "miller",
                    "sasl_password": "bran",
                }
            )
            with pytest.raises(FatalError, match="refused the credentials"):
                open_lane(kafka, LaneSpec("test", 0, "any.features"))

    def test_a_broker_without_kip_848_is_joined_by_the_classic_protocol(self, tmp_path: Path) -> None:
        old = {"group.coordinator.rebalance.protocols": "classic"}
        broker = LocalBroker(tmp_path, java=QUICK_JAVA, properties=old)
        with temporary_broker(broker), world_on(broker) as world:
            world.produce(numbered(20))
            finish(world, 20, Worker(world))
