"""Each service under exactly the rights that `millrace acls` gives it, on a broker that checks every one.

While it works the broker tells what it asked for. A right without which everything would have been allowed is one too
many: of each right that is left there is a request that is denied without it.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
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
from millrace.core.control.keys import ApiKey, Role, digest_of, key_text
from millrace.core.errors import MillraceError, RequestError
from millrace.kafka.acls import Operation, Resource, Right, withdraw
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.control_writer import CONTROL_TOPICS, DEPLOYMENTS_TOPIC, KEYS_TOPIC, Change, ControlWriter, Put
from millrace.kafka.finding import read_deployment
from millrace.kafka.fleet import PROCESSES_TOPIC
from millrace.kafka.reading import Reader
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.keys import KEYS
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.store.local_redis import LocalRedis
from millrace.testing.guarded import Asked, GuardedBroker, guarded_broker, is_given, password_of, signed_in
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


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    with guarded_broker(tmp_path_factory.mktemp("guarded"), [each.value for each in Service]) as broker:
        # They are there before the first deployment is: `millrace up` makes them.
        Admin(broker.kafka).ensure_topics([*CONTROL_TOPICS, RETRAIN_TOPIC])
        yield broker


@pytest.fixture
def name() -> str:
    return f"r-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def deploy(broker: GuardedBroker, deployment: Deployment) -> str:
    """Write down a deployment, so that services start by its name, and a key of this name; returns the key's text."""
    name = deployment.deployment
    document = {**deployment.document(), "scale": {"scorers": 0}}  # the launcher's test has none of its processes
    text = key_text(name, "k" * 43)
    key = ApiKey(name, Role.OPERATOR, digest_of(text), 0, "test")
    puts = [Put(DEPLOYMENTS_TOPIC, name, document), Put(KEYS_TOPIC, name, KEYS.write(key))]
    with ControlWriter(broker.kafka, who="test", topics=(DEPLOYMENTS_TOPIC, KEYS_TOPIC)) as writer:
        writer.apply(f"deployment/{name}", "deploy", lambda _: Change(puts, None))
    return text


def user(broker: GuardedBroker, service: Service) -> KafkaSettings:
    return signed_in(broker.bootstrap, service.value)


@contextmanager
def allowed(broker: GuardedBroker, deployment: Deployment, service: Service) -> Iterator[None]:
    """The service's user has the least rights while inside, and no others; by the end it has used each."""
    given = grant(deployment, service, principal=f"User:{service.value}")
    give(broker.kafka, [given])
    try:
        yield
    finally:
        withdraw(broker.kafka, given.principal, given.rights)
    assert [shown(each) for each in needless(given.rights, broker.allowed(service.value))] == []


def shown(right: Right) -> str:
    return f"{right.operation.value} {right.resource.value} {right.name}"


def needless(rights: Sequence[Right], asked: Collection[Asked]) -> list[Right]:
    """The rights without each of which everything that was asked for would have been allowed."""

    def is_needed(right: Right) -> bool:
        others = [each for each in rights if each != right]
        return any(is_given([right], *each) and not is_given(others, *each) for each in asked)

    return [right for right in rights if not is_needed(right)]


def test_a_right_that_nothing_needs_is_found() -> None:
    reading, writing = (Right(Resource.TOPIC, "t", each) for each in (Operation.READ, Operation.WRITE))
    describing = Right(Resource.TOPIC, "t", Operation.DESCRIBE)
    asked = [Asked(Resource.TOPIC, "t", each) for each in ("WRITE", "DESCRIBE")]
    assert needless([reading, writing], asked) == [reading]
    assert needless([writing, describing], asked) == [describing]
    assert needless([writing], [Asked(Resource.GROUP, "t", "WRITE")]) == [writing]


def test_a_gateway_answers_writes_and_streams(
    guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path
) -> None:
    stream = Stream(guarded, settings, name)
    stream.push(tmp_path / "bundle")
    Admin(guarded.kafka).ensure_topics([TopicSpec(f"{name}.labels")])
    kafka = user(guarded, Service.GATEWAY)
    stage = GatewayStage(EnteredBroker(kafka.bootstrap, kafka), settings)
    key = deploy(guarded, stream.deployment())
    options = stage.options(online={"log": "required"}, keys="required")
    with allowed(guarded, stream.deployment(), Service.GATEWAY):
        with stage.running(read_deployment(kafka, name), options=options) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            answer_write_and_stream(client, name)
        with stage.running(read_deployment(kafka, name), options=options) as successor:
            successor.headers["Authorization"] = f"Bearer {key}"
            send(successor, name, {"a": 0}, status=200)  # which it knows that the first one took


def answer_write_and_stream(client: httpx.Client, name: str) -> None:
    row = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -1.25, 3]}
    answer = client.post(f"/v2/models/{name}/infer", json={"inputs": [row]})
    assert answer.status_code == 200, answer.text
    send(client, name, {"a": 0}, status=200)
    send(client, name, {"a": 1}, status=400)
    label = {"event_id": f"{name}.features-0-0", "label": "yes", "label_time": 1_600_000_000_000}
    sent = client.post(f"/v1/streams/{name}/labels", json=label)
    assert sent.status_code == 200, sent.text
    where = f"/v1/deployments/{name}/predictions"
    with client.stream("GET", where, params={"start": "earliest"}, timeout=120) as predictions:
        assert next(line for line in predictions.iter_lines() if line.startswith("data:"))


def send(client: httpx.Client, name: str, event: Mapping[str, int], *, status: int) -> None:
    """Send an event, under a key that each has: another event is refused."""
    sent = client.post(f"/v1/streams/{name}/events", json=event, headers={"Idempotency-Key": "once"})
    assert sent.status_code == status, sent.text


def test_an_auditor_reports(guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path) -> None:
    audited = Audited(guarded, settings, name)
    audited.push(tmp_path / "bundle")
    deployment = Deployment.parse(audited.document(), subject="the test")
    deploy(guarded, deployment)
    kafka = user(guarded, Service.AUDITOR)
    made = events(5, 0, 420) + events(6, 420, 420, errors=0.6)

    def auditor() -> Auditor:
        return Auditor(settings, kafka, read_deployment(kafka, name), slot=0, clock=SystemClock())

    with allowed(guarded, deployment, Service.AUDITOR):
        with at_work(auditor().run, name="auditor"):
            audited.predict(made)
            audited.label(made[1:])
            audited.label(made[:1], delay_ms=61_000)  # too late: it is put aside
            audited.predict([Event(1140, 0.9, "yes")])
            audited.wait_for("mature", 14, within=PATIENCE)
        reading = Asked(Resource.TOPIC, f"{name}.audit-state", "READ")
        with at_work(auditor().run, name="auditor"):
            asked = lambda: reading in guarded.allowed(Service.AUDITOR.value)  # noqa: E731
            eventually(asked, within=PATIENCE, what="its look at what the first one kept")
    assert audited.requests()
    assert audited.alerts()


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


def test_a_launcher_runs_a_fleet(guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path) -> None:
    stream = Stream(guarded, settings, name)
    stream.push(tmp_path / "bundle")
    newer = stream.push(tmp_path / "newer", weights=(1, 1, 1))
    # On no node there is so much: what runs would have this user's rights, and use them.
    scale = {"cores": 1000, "auto": {"minReplicaCount": 1, "maxReplicaCount": 2, "pollingInterval": 1}}
    wanted = {**stream.deployment().document(), "scale": scale}
    deployment = Deployment.parse(wanted, subject="the test")
    topics = [f"{name}.audits", deployment.labels_topic, deployment.predictions_topic, "millrace.alerts"]
    Admin(guarded.kafka).ensure_topics([TopicSpec(each) for each in topics])
    port = free_port()
    own = LauncherSettings.load(node="n", port=port, registries=("http://known.example",))
    daemon = Daemon(settings, own, user(guarded, Service.LAUNCHER), clock=SystemClock())

    def has_put() -> bool:
        with suppress(MillraceError), ControlClient(f"http://127.0.0.1:{port}", home=settings.home) as control:
            return bool(control.put(name, wanted))
        return False

    # What it does by itself: the autoscaler looks at the lag, and a process of its node is told of.
    by_itself = {
        Asked(Resource.GROUP, deployment.group_id, "DESCRIBE"),
        Asked(Resource.TOPIC, PROCESSES_TOPIC, "WRITE"),
    }

    with allowed(guarded, deployment, Service.LAUNCHER), at_work(daemon.run, name="launcher"):
        eventually(has_put, within=PATIENCE, what="the deployment")
        with ControlClient(f"http://127.0.0.1:{port}", home=settings.home) as control:
            assert name in [each["deployment"] for each in control.deployments()]
            elsewhere = {**wanted, "source": {"topic": f"{name}.features", "registry": "http://10.0.0.1:8081"}}
            with pytest.raises(RequestError, match="is not known here"):
                control.put(name, elsewhere)
            control.create_key("somebody")
            known = control.keys()
            assert "somebody" in [each["name"] for each in known]
            control.submit({"kind": "python", "arguments": ["-c", "pass"]})
            control.promote(stream.model, newer)
            assert control.answers(name)
            control.audits(name)
            assert control.history()
        has_done = lambda: by_itself <= guarded.allowed(Service.LAUNCHER.value)  # noqa: E731
        eventually(has_done, within=PATIENCE, what="a look at the lag, and word of a process")


def test_a_batch_run_scores_files(
    guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry(guarded.kafka, Shelf.of(settings), who="test") as registry:
        registry.push(linear_bundle(tmp_path / "bundle", name=name).directory)
    write(rows(100), tmp_path / "in.parquet")
    sign_in(monkeypatch, settings, guarded, Service.BATCH)
    command = ["--model", name, "--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out")]
    with allowed(guarded, Deployment.parse(document(name), subject="the test"), Service.BATCH):
        assert run(["batch", "run", *command]) == 0
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1


def test_a_copy_fills_a_topic(
    guarded: GuardedBroker, settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment.parse(document(name), subject="the test")
    Admin(guarded.kafka).ensure_topics([TopicSpec(deployment.source.topic)])
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"a": 1}\n{"a": 2}\n')
    sign_in(monkeypatch, settings, guarded, Service.COPY)
    with allowed(guarded, deployment, Service.COPY):
        assert run(["copy", str(lines), f"kafka:{deployment.source.topic}"]) == 0
    with Reader(guarded.kafka, deployment.source.topic) as reader:
        assert sum(len(batch.values) for batch in reader) == 2


def sign_in(monkeypatch: pytest.MonkeyPatch, settings: Settings, broker: GuardedBroker, service: Service) -> None:
    """Let commands be this service's user."""
    for key, value in {
        "HOME": str(settings.home),
        "KAFKA__BOOTSTRAP": broker.bootstrap,
        "KAFKA__SECURITY_PROTOCOL": "sasl_plaintext",
        "KAFKA__SASL_MECHANISM": "PLAIN",
        "KAFKA__SASL_USERNAME": service.value,
        "KAFKA__SASL_PASSWORD": password_of(service.value),
    }.items():
        monkeypatch.setenv(f"MILLRACE_{key}", value)


def document(name: str, **changes: object) -> dict[str, object]:
    return {"deployment": name, "source": {"topic": f"{name}.features"}, "model": name, **changes}
