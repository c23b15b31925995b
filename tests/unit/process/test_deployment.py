from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from millrace.core.errors import RequestError
from millrace.core.lane import Delivery
from millrace.core.rollout import RolloutMode
from millrace.process.deployment import Deployment, Provider, RecordFormat, find_deployment

FOUR_LINES = """\
deployment: rain
source:
  topic: weather.features
model: weather@champion
"""


def minimal(**changes: object) -> dict[str, Any]:
    return {"deployment": "rain", "source": {"topic": "weather.features"}, "model": "weather", **changes}


def parse(**changes: object) -> Deployment:
    return Deployment.parse(minimal(**changes), subject="a test")


def write(folder: Path, text: str) -> Path:
    path = folder / "deployment.yaml"
    path.write_text(text)
    return path


def test_four_lines_are_a_deployment(tmp_path: Path) -> None:
    deployment = Deployment.load(write(tmp_path, FOUR_LINES))
    assert deployment.delivery is Delivery.EXACTLY_ONCE
    assert deployment.source.format is RecordFormat.JSON
    assert deployment.slo.latency == timedelta(milliseconds=200)
    assert deployment.batch.max_wait < deployment.batch.transaction_age < deployment.slo.latency
    assert deployment.runtime.providers == (Provider.CPU,)


def test_topics_and_group_follow_from_the_name() -> None:
    deployment = parse()
    assert deployment.predictions_topic == "rain.predictions"
    assert deployment.dead_letters_topic == "rain.dlq"
    assert deployment.late_topic == "rain.late"
    assert deployment.group_id == "scorer-rain"


def test_named_topics_stay_as_they_are() -> None:
    deployment = parse(sink={"predictions": "p", "dead_letters": "d", "late": "l"})
    assert (deployment.predictions_topic, deployment.dead_letters_topic, deployment.late_topic) == ("p", "d", "l")


def test_overload_does_nothing_until_it_is_declared() -> None:
    assert (parse().overload.variant_after, parse().overload.shed_after) == (None, None)
    declared = parse(overload={"variant": "weather-small/2", "shed_after_ms": 60_000}).overload
    assert (declared.variant_after, declared.shed_after) == (timedelta(seconds=1), timedelta(minutes=1))


def test_a_rollout_is_off_until_it_is_declared_and_tries_the_models_challenger() -> None:
    assert parse().rollout.mode is RolloutMode.NONE
    assert [parse(model=model).challenger for model in ("weather", "weather@next", "weather/3")] == [
        "weather@challenger"
    ] * 3
    declared = parse(rollout={"mode": "canary", "challenger": "weather/4", "alpha": 0.05})
    assert (declared.challenger, declared.rollout.test.threshold) == ("weather/4", 20)


def test_the_document_holds_what_was_said_and_reads_back_equal() -> None:
    said = minimal(batch={"max_records": 500}, delivery="shared", runtime={"providers": ["cuda", "cpu"]})
    deployment = Deployment.parse(said, subject="a test")
    assert deployment.document() == said
    assert Deployment.parse(deployment.document(), subject="itself") == deployment


def test_schema_files_lie_beside_the_document(tmp_path: Path) -> None:
    text = FOUR_LINES.replace("model:", "  format: avro\n  schemas: {7: weather.avsc}\nmodel:")
    assert Deployment.load(write(tmp_path, text)).source.schemas == {7: tmp_path / "weather.avsc"}


def test_json_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    path.write_text('{"deployment": "rain",\n\t"source": {"topic": "weather.features"},\n\t"model": "weather/3"}')
    assert Deployment.load(path).model == "weather/3"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"model": "a",\n "model": "b"}', "'model' stands twice in one object"),
        ('{"model":\n }', "line 2, column 2: Expecting value"),
        ("[]", "holds no settings"),
    ],
)
def test_a_json_file_that_is_no_document_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=rf"deployment\.json.*{complaint}"):
        Deployment.load(path)


@pytest.mark.parametrize("reference", ["weather", "weather@champion", "weather/3", "weather.v2@canary-1", "w/10"])
def test_model_references_that_are_read(reference: str) -> None:
    assert parse(model=reference).model == reference


@pytest.mark.parametrize(
    "reference", ["", "Weather", "weather@", "weather/0", "weather/x", "weather@A", "a/1@b", "-a", "a b", "weather\n"]
)
def test_model_references_that_are_refused(reference: str) -> None:
    with pytest.raises(RequestError, match="model: should match"):
        parse(model=reference)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"deployment": "Rain"}, "deployment: should match"),
        ({"deployment": 12}, "deployment: should be a valid string"),
        ({"source": {}}, r"source\.topic: is missing \(add it\)"),
        ({"source": {"topic": "a topic"}}, r"source\.topic: should match"),
        ({"modle": "x"}, r"modle: no such setting \(remove it"),
        ({"batch": {"max_recrds": 1}}, r"batch\.max_recrds: no such setting"),
        ({"batch": {"max_records": 0}}, r"batch\.max_records: should be greater than or equal to 1"),
        ({"batch": {"max_records": "10"}}, r"batch\.max_records: should be a valid integer"),
        ({"batch": {"max_records": 30_000}}, "batch: transaction_records .20000. is smaller than max_records .30000."),
        ({"batch": {"transaction_ms": 200}}, r"batch\.transaction_ms .200. must be below slo\.latency_ms .200."),
        ({"batch": {"max_wait_ms": 200}}, r"batch\.max_wait_ms .200. must be below slo\.latency_ms .200."),
        ({"overload": {"shed_after_ms": 200}}, r"overload\.shed_after_ms .200. must be above slo\.latency_ms"),
        ({"slo": {"quantile": 1}}, r"slo\.quantile: should be less than 1"),
        ({"delivery": "once"}, "delivery: should be 'exactly_once', 'at_least_once' or 'shared'"),
        ({"runtime": {"providers": []}}, r"runtime\.providers: Tuple should have at least 1 item"),
        ({"runtime": {"python_functions": "yes"}}, r"runtime\.python_functions: should be a valid boolean"),
        ({"sink": {"predictions": "weather.features"}}, ".*must be four different topics"),
        ({"sink": {"dead_letters": "rain.late"}}, ".*must be four different topics"),
        ({"sink": {"predictions": "rain.shadows"}}, ".*'rain.shadows' is the name of a topic that rollouts write to"),
        ({"rollout": {"max_pairs": 100}}, r"rollout: max_pairs .100. is smaller than min_pairs .200."),
        ({"rollout": {"mode": "half"}}, r"rollout\.mode: should be 'none', 'shadow' or 'canary'"),
        ({"sink": {"format": "avro"}}, r"sink\.format avro needs source\.registry"),
        (
            {"source": {"topic": "t", "format": "avro"}},
            r"source\.format avro needs source\.registry or source\.schemas",
        ),
        ({"source": {"topic": "t", "registry": "ftp://x"}}, r"source\.registry: should match"),
        ({"limits": {"depth": 1000}}, r"limits\.depth: should be less than or equal to 256"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(RequestError, match=f"^a test: {complaint}"):
        parse(**changes)


def test_further_problems_are_counted() -> None:
    with pytest.raises(RequestError, match=r"is missing \(and 2 more\)"):
        Deployment.parse({}, subject="a test")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (FOUR_LINES + "model: other\n", r"line 1, column 1: 'model' stands here twice \(correct the line\)"),
        ("a: &x [1]\nb: *x\n", "line 2, column 4: aliases are not read"),
        ("deployment: [\n", "line 2, column 1: .*expected"),
        ("- rain\n", "holds no settings"),
        ("", "holds no settings"),
        ("a: \x00", "is not a YAML or JSON text"),
        ("[" * 1_500, "is not a YAML or JSON text|expected the node content"),
        ("#" * 2_000_000, "is larger than 1048576 bytes"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (FOUR_LINES + "since: 2026-01-01\n", "since: no such setting"),
    ],
)
def test_a_file_that_is_no_document_is_refused_with_its_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=rf"deployment\.yaml.*({complaint})"):
        Deployment.load(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"absent\.yaml cannot be read: No such file or directory"):
        Deployment.load(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deployment.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="is not a YAML or JSON text"):
        Deployment.load(path)


def test_a_deployment_is_found_by_its_name() -> None:
    assert find_deployment({"rain": minimal()}, "rain") == parse()
    with pytest.raises(RequestError, match=r"no deployment 'snow' \(deployments that exist: rain\)"):
        find_deployment({"rain": minimal()}, "snow")


def test_a_training_document_is_found_beside_the_deployment(tmp_path: Path) -> None:
    (tmp_path / "rain.yaml").write_text(
        "deployment: rain\nsource:\n  topic: t\nmodel: m\nscale:\n  training: training.yaml\n"
    )
    assert Deployment.load(tmp_path / "rain.yaml").scale.training == tmp_path.resolve() / "training.yaml"
    assert Deployment.parse(minimal(), subject="test").scale.training is None


def enriching(**changes: object) -> dict[str, object]:
    return {**minimal(), "enrich": [{"table": "stations.features", "features": ["mean", "kind"], **changes}]}


def test_features_may_come_from_the_online_store() -> None:
    deployment = Deployment.parse(enriching(defaults={"mean": 0.5, "kind": None}, max_age_secs=60), subject="test")
    assert deployment.enrich[0].defaults == {"mean": 0.5, "kind": None}
    assert Deployment.parse(deployment.document(), subject="test") == deployment


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (enriching(defaults={"gust": 1}), "defaults has 'gust', which is not among the features"),
        (enriching(features=["mean", "mean"]), "enrich names 'mean' twice"),
        (enriching(features=[]), "at least 1 item"),
        (enriching(format="arrow"), "many rows in one record"),
        (enriching(format="avro"), "enrich.format avro needs source.registry or source.schemas"),
        (
            {**enriching(), "source": {"topic": "t", "registry": "http://r"}, "sink": {"format": "avro"}},
            "sink.format avro has no place for enriched values",
        ),
    ],
)
def test_an_enrichment_that_cannot_work_is_refused(document: dict[str, object], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        Deployment.parse(document, subject="test")


def scaled(**auto: object) -> dict[str, object]:
    return {**minimal(), "scale": {"auto": auto}}


def test_the_number_of_scorers_follows_the_load_in_kedas_words() -> None:
    document = scaled(minReplicaCount=2, maxReplicaCount=6, cooldownPeriod=60, lagThreshold=500)
    deployment = Deployment.parse(document, subject="test")
    assert deployment.document()["scale"] == document["scale"]
    auto = deployment.scale.auto
    assert auto is not None
    policy = auto.policy(deployment.slo)
    assert (policy.min_replicas, policy.max_replicas, policy.lag_threshold) == (2, 6, 500)
    assert (policy.goal, policy.cooldown) == (deployment.slo.latency, timedelta(minutes=1))
    assert Deployment.parse(scaled(), subject="test").document()["scale"] == {"auto": {}}, "on, with all defaults"
    assert Deployment.parse(minimal(), subject="test").scale.auto is None


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (scaled(min_replica_count=2), "scale.auto.min_replica_count: no such setting"),
        (scaled(minReplicaCount=9, maxReplicaCount=3), "is above maxReplicaCount"),
        ({**scaled(), "delivery": "shared"}, "shared delivery has none"),
    ],
)
def test_scaling_that_cannot_work_is_refused(document: dict[str, object], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        Deployment.parse(document, subject="test")
