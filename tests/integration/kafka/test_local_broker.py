"""The life of a local broker: one per folder, there until it is stopped, and plain words when it cannot start."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from millrace.core.errors import FatalError, RequestError
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.broker import LocalBroker
from millrace.process.children import has_ended
from millrace.process.settings import KafkaSettings, SaslMechanism, SecurityProtocol
from millrace.testing.broker import QUICK_JAVA, temporary_broker
from millrace.testing.waiting import eventually

TOPIC = "kept.features"


@pytest.fixture(scope="module")
def running() -> Iterator[LocalBroker]:
    """A broker with a record in it; every test leaves it running."""
    with temporary_broker() as broker:
        Admin(broker.kafka).ensure_topics([TopicSpec(TOPIC)])
        producer = Producer(broker.kafka.client(acks="all"))
        producer.produce(TOPIC, b"kept")
        assert producer.flush(10) == 0
        yield broker


def first_value(kafka: KafkaSettings) -> bytes | None:
    consumer = Consumer(kafka.client(**{"group.id": "unused"}))
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        record = consumer.poll(10)
        return record.value() if record is not None else None
    finally:
        consumer.close()


def java_processes(broker: LocalBroker) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(broker.folder / "server.properties") in (process.info["cmdline"] or ())
    ]


class TestRunning:
    def test_started_twice_it_is_one_broker(self, running: LocalBroker) -> None:
        with ThreadPoolExecutor(3) as pool:
            statuses = list(pool.map(lambda _: LocalBroker(running.home).start(), range(3)))
        assert {status.pid for status in statuses} == {running.status().pid}
        assert len(java_processes(running)) == 1

    def test_starting_a_running_broker_is_quick(self, running: LocalBroker) -> None:
        began = time.monotonic()
        running.start()
        assert time.monotonic() - began < 2

    def test_says_what_it_is(self, running: LocalBroker) -> None:
        status = running.status()
        assert status.running
        assert status.bootstrap == running.bootstrap == running.kafka.bootstrap
        assert status.started_at is not None
        assert status.cluster_id is not None
        assert len(status.cluster_id) == 22

    def test_stopped_it_leaves_no_process(self, running: LocalBroker) -> None:
        before = running.status()
        running.stop()
        try:
            assert not running.status().running
            assert has_ended(before.pid or 0)
            assert java_processes(running) == []
            running.stop()
        finally:
            running.start()
        assert running.status().cluster_id == before.cluster_id

    def test_restarted_it_has_its_address_and_its_records(self, running: LocalBroker) -> None:
        bootstrap = running.bootstrap
        assert running.restart().bootstrap == bootstrap
        assert first_value(running.kafka) == b"kept"

    def test_killed_and_started_it_has_its_records(self, running: LocalBroker) -> None:
        running.kill()
        assert not running.status().running
        began = time.monotonic()
        running.start()
        assert first_value(running.kafka) == b"kept"
        assert time.monotonic() - began < 30

    def test_a_process_that_got_its_number_is_not_taken_for_it(self, running: LocalBroker) -> None:
        state = running.folder / "state.json"
        written = state.read_text()
        try:
            state.write_text(written.replace(str(running.status().pid), str(os.getpid())))
            assert not running.status().running
        finally:
            state.write_text(written)


class TestStarting:
    def test_outlives_who_started_it(self, tmp_path: Path) -> None:
        broker = LocalBroker(tmp_path, java=QUICK_JAVA)
        script = (
            "import sys; from pathlib import Path; from millrace.kafka.broker import LocalBroker\n"
            "LocalBroker(Path(sys.argv[1])).start()"
        )
        try:
            with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], start_new_session=True) as starter:
                assert starter.wait(60) == 0
            pid = broker.status().pid
            assert pid is not None
            assert os.getsid(pid) == pid
        finally:
            broker.kill()

    def test_goes_with_a_test_run_that_is_killed(self) -> None:
        script = (
            "import time; from millrace.testing.broker import temporary_broker\n"
            "with temporary_broker() as broker: print(broker.home, flush=True); time.sleep(600)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            home = Path(run.stdout.readline().strip())
            broker = LocalBroker(home)
            pid = broker.status().pid
            assert pid is not None
            run.send_signal(signal.SIGKILL)
        eventually(lambda: has_ended(pid) and not home.exists(), what="the end of the broker")

    def test_a_port_in_use_is_named_with_its_holder(self, tmp_path: Path) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            port = server.getsockname()[1]
            with pytest.raises(RequestError, match=rf"port {port} is in use by .*process {os.getpid()}"):
                LocalBroker(tmp_path, port=port).start()

    def test_a_broker_that_dies_says_why(self, tmp_path: Path) -> None:
        broker = LocalBroker(tmp_path, properties={"log.retention.bytes": "plenty"})
        with pytest.raises(FatalError, match="plenty"):
            broker.start()
        assert java_processes(broker) == []

    def test_java_that_refuses_says_why(self, running: LocalBroker) -> None:
        running.stop()
        try:
            with pytest.raises(FatalError, match="Unrecognized VM option 'NoSuchThing'"):
                LocalBroker(running.home, java=("-XX:+NoSuchThing",)).start()
        finally:
            running.start()


class TestFolders:
    @pytest.mark.parametrize("name", ["a file/broker-home", "one,two"])
    def test_a_folder_that_cannot_be_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "a file").touch()
        with pytest.raises(RequestError, match=r"cannot use the folder .*MILLRACE_HOME"):
            LocalBroker(tmp_path / name).start()

    def test_a_folder_of_somebody_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "broker" / "data").mkdir(parents=True)
        with pytest.raises(RequestError, match="is not Kafka's"):
            LocalBroker(tmp_path).start()

    def test_a_folder_of_a_newer_kafka_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "broker").mkdir()
        state = '{"pid": 1, "ports": {"client": 1, "internal": 2, "controller": 3}, "version": "99.0.1"}'
        (tmp_path / "broker" / "state.json").write_text(state)
        with pytest.raises(RequestError, match=r"Kafka 99\.0\.1 wrote it.*upgrade millrace"):
            LocalBroker(tmp_path).start()

    def test_a_broker_that_never_started_has_no_address(self, tmp_path: Path) -> None:
        broker = LocalBroker(tmp_path)
        assert not broker.status().running
        broker.stop()
        with pytest.raises(RequestError, match="never started"):
            _ = broker.bootstrap

    def test_odd_characters_are_fine(self, tmp_path: Path) -> None:
        home = tmp_path / "Müller's mill #1 = 50%"
        with temporary_broker(LocalBroker(home, java=QUICK_JAVA)) as broker:
            assert broker.status().running


CREDENTIALS = {
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.client.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        'username="broker" password="b" user_broker="b" user_miller="flour";'
    ),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker that asks its clients for a password."""
    home = tmp_path_factory.mktemp("guarded")
    with temporary_broker(LocalBroker(home, java=QUICK_JAVA, properties=CREDENTIALS)) as broker:
        yield broker


class TestCredentials:
    def admin(self, broker: LocalBroker, password: str) -> Admin:
        settings = {
            "bootstrap": broker.bootstrap,
            "security_protocol": SecurityProtocol.SASL_PLAINTEXT,
            "sasl_mechanism": SaslMechanism.PLAIN,
            "sasl_username": "miller",
            "sasl_password": password,
        }
        return Admin(KafkaSettings.model_validate(settings), limit=timedelta(seconds=3))

    def test_right_ones_are_accepted(self, guarded: LocalBroker) -> None:
        assert self.admin(guarded, "flour").topic_names() == frozenset()

    def test_wrong_ones_are_refused_in_plain_words(self, guarded: LocalBroker) -> None:
        with pytest.raises(FatalError, match=r"refused the credentials.*SASL_PASSWORD"):
            self.admin(guarded, "bran").topic_names()
