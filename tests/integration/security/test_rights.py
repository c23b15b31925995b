"""Each service under exactly the rights that `millrace acls` gives it, on a broker that checks every one.

The scorer's are in its own tests, right by right.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from audit_stream import Audited, Event, events
from batch_files import rows, write
from gateway_stage import GatewayStage, free_port
from materializer_stream import Stream as Table
from scorer_stream import Stream
from trainer_stream import ENDS, Loop

from millrace.cli.app import run
from millrace.client import ControlClient
from millrace.client.acls import Service, give, grant
from millrace.core.errors import MillraceError
from millrace.kafka.acls import Right, withdraw
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.control_writer import CONTROL_TOPICS
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.store.local_redis import LocalRedis
from millrace.testing.guarded import GuardedBroker, guarded_broker, password_of, signed_in
from millrace.testing.models import linear_bundle
from millrace.testing.running import at_work
from millrace.testing.secured import EnteredBroker
from millrace.testing.waiting import eventually
from millrace_auditor.app import Auditor
from millrace_launcher.app import Daemon
from millrace_launcher.settings import LauncherSettings
from millrace_materializer.app import Materializer, Order
from millrace_trainer.app import Trainer

PATIENCE: Final = timedelta(seconds=60)
TESTED: Final = [each for each in Service if each not in {Service.SCORER, Service.COPY}]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    with guarded_broker(tmp_path_factory.mktemp("guarded"), [each.value for each in TESTED]) as broker:
        # They are there before the first deployment is: `millrace up` makes them.
        Admin(broker.kafka).ensure_topics([*CONTROL_TOPICS, RETRAIN_TOPIC])
        yield broker


@pytest.fixture
def name() -> str:
    return f"r-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def user(broker: GuardedBroker, service: Service) -> KafkaSettings:
    return signed_in(broker.bootstrap, service.value)


@contextmanager
def allowed(broker: GuardedBroker, deployment: Deployment, service: Service) -> Iterator[tuple[Right, ...]]:
    """The service's user has the least rights while inside, and no others."""
    given = grant(deployment, service, principal=f"User:{service.value}")
    give(broker.kafka, [given])
    try:
        yield given.rights
    finally:
        withdraw(broker.kafka, given.principal, given.rights)


def test_a_gateway_answers_writes_and_streams(
    guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path
) -> None:
    stream = Stream(guarded, settings, name)
    stream.push(tmp_path / "bundle")
    Admin(guarded.kafka).ensure_topics([TopicSpec(f"{name}.labels")])
    kafka = user(guarded, Service.GATEWAY)
    stage = GatewayStage(EnteredBroker(kafka.bootstrap, kafka), settings)
    with (
        allowed(guarded, stream.deployment(), Service.GATEWAY),
        stage.running(stream.deployment(), options=stage.options(online={"log": "required"})) as client,
    ):
        row = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1.25, 3]}
        answer = client.post(f"/v2/models/{name}/infer", json={"inputs": [row]})
        assert answer.status_code == 200, answer.text
        for times in range(2):
            sent = client.post(f"/v1/streams/{name}/events", json={"a": times}, headers={"Idempotency-Key": "once"})
            assert sent.status_code == (200 if times == 0 else 400), sent.text
        label = {"event_id": f"{name}.features-0-0", "label": "yes", "label_time": 1_600_000_000_000}
        sent = client.post(f"/v1/streams/{name}/labels", json=label)
        assert sent.status_code == 200, sent.text
        where = f"/v1/deployments/{name}/predictions"
        with client.stream("GET", where, params={"start": "earliest"}, timeout=120) as predictions:
            assert next(line for line in predictions.iter_lines() if line.startswith("data:"))


def test_an_auditor_reports(guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path) -> None:
    audited = Audited(guarded, settings, name)
    audited.push(tmp_path / "bundle")
    deployment = Deployment.parse(audited.document(), subject="the test")
    auditor = Auditor(settings, user(guarded, Service.AUDITOR), deployment, slot=0, clock=SystemClock())
    made = events(1, 0, 60)
    with allowed(guarded, deployment, Service.AUDITOR), at_work(auditor.run, name="auditor"):
        audited.predict(made)
        audited.label(made)
        audited.predict([Event(360, 0.9, "yes")])
        audited.wait_for("mature", 1, within=PATIENCE)


def test_a_trainer_promotes(guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path) -> None:
    loop = Loop(guarded, settings, name)
    loop.push(tmp_path / "champion", (0, 0, 1))
    loop.send(2000)
    loop.request()
    deployment = Deployment.parse(
        {"deployment": name, "source": {"topic": loop.features}, "model": name}, subject="the test"
    )
    trainer = Trainer(settings, user(guarded, Service.TRAINER), loop.training(), clock=SystemClock())
    with allowed(guarded, deployment, Service.TRAINER), at_work(trainer.run, name="trainer"):
        loop.wait_for(*ENDS)
    assert loop.steps()[-1] == "promoted"


def test_a_materializer_keeps_its_table(
    guarded: GuardedBroker, redis: LocalRedis, settings: Settings, name: str
) -> None:
    deployment = Deployment.parse(document(name), subject="the test")
    topic = deployment.predictions_topic
    Admin(guarded.kafka).ensure_topics([TopicSpec(topic)])
    table = Table(guarded, redis.settings, settings, topic)
    kafka = user(guarded, Service.MATERIALIZER)
    made = Materializer(settings, kafka, redis.settings, Order(topic), clock=SystemClock())
    with allowed(guarded, deployment, Service.MATERIALIZER), at_work(made.run, name="materializer"):
        table.send([(b"k", b"v")])
        eventually(lambda: table.values(b"k") == [b"v"], within=PATIENCE, what="the value")


def test_a_launcher_runs_a_fleet(guarded: GuardedBroker, settings: Settings, name: str) -> None:
    Admin(guarded.kafka).ensure_topics([TopicSpec(f"{name}.features")])
    deployment = Deployment.parse(document(name), subject="the test")
    port = free_port()
    own = LauncherSettings.load(node="n", port=port)
    daemon = Daemon(settings, own, user(guarded, Service.LAUNCHER), clock=SystemClock())

    def has_put() -> bool:
        with suppress(MillraceError), ControlClient(f"http://127.0.0.1:{port}", home=settings.home) as control:
            return bool(control.put(name, document(name, scale={"scorers": 0})))
        return False

    with allowed(guarded, deployment, Service.LAUNCHER), at_work(daemon.run, name="launcher"):
        eventually(has_put, within=PATIENCE, what="the deployment")
        with ControlClient(f"http://127.0.0.1:{port}", home=settings.home) as control:
            assert [each["deployment"] for each in control.deployments()] == [name]
            control.create_key("somebody")
            known = control.keys()
            assert [each["name"] for each in known] == ["somebody"]
            assert control.history()


def test_a_batch_run_scores_files(
    guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry(guarded.kafka, Shelf.of(settings), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name=name).directory)
    write(rows(100), tmp_path / "in.parquet")
    for key, value in {
        "HOME": str(settings.home),
        "KAFKA__BOOTSTRAP": guarded.bootstrap,
        "KAFKA__SECURITY_PROTOCOL": "sasl_plaintext",
        "KAFKA__SASL_MECHANISM": "PLAIN",
        "KAFKA__SASL_USERNAME": Service.BATCH.value,
        "KAFKA__SASL_PASSWORD": password_of(Service.BATCH.value),
    }.items():
        monkeypatch.setenv(f"MILLRACE_{key}", value)
    command = ["--model", name, "--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out")]
    with allowed(guarded, Deployment.parse(document(name), subject="the test"), Service.BATCH):
        assert run(["batch", "run", *command]) == 0
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1


def document(name: str, **changes: object) -> dict[str, object]:
    return {"deployment": name, "source": {"topic": f"{name}.features"}, "model": name, **changes}
