"""What KEDA is told is what KEDA understands, and says what the document says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from millrace.client.keda import scaled_object
from millrace.process.deployment import AutoScale

SCHEMA = json.loads((Path(__file__).parent / "scaled-object.schema.json").read_text())
BROKER = "kafka:9092"


def document(**auto: object) -> dict[str, Any]:
    return {"deployment": "rain", "source": {"topic": "t"}, "model": "m", "scale": {"auto": auto}}


def trigger(scaled: dict[str, Any]) -> dict[str, str]:
    [found] = scaled["spec"]["triggers"]
    metadata: dict[str, str] = found["metadata"]
    return metadata


@pytest.mark.parametrize(
    "auto",
    [
        {},
        {"paused": True},
        {"minReplicaCount": 0, "maxReplicaCount": 12, "pollingInterval": 5, "cooldownPeriod": 60, "lagThreshold": 500},
        {"activationLagThreshold": 3, "allowIdleConsumers": True, "excludePersistentLag": False},
    ],
)
def test_keda_understands_it_and_is_told_the_same(auto: dict[str, object]) -> None:
    scaled = scaled_object(document(**auto), bootstrap=BROKER)
    jsonschema.validate(scaled, SCHEMA)
    said = {name: json.dumps(value) for name, value in {**scaled["spec"], **trigger(scaled)}.items()}
    for name, setting in auto.items():
        if name != "paused":
            assert said[name].strip('"') == json.dumps(setting), name


def test_every_word_that_keda_has_is_told() -> None:
    scaled = scaled_object(document(), bootstrap=BROKER)
    words = {field.alias for field in AutoScale.model_fields.values()}
    assert words - scaled["spec"].keys() - trigger(scaled).keys() == {"paused"}
    assert scaled_object(document(paused=True), bootstrap=BROKER)["metadata"]["annotations"] == {
        "autoscaling.keda.sh/paused": "true"
    }


def test_it_scales_pods_with_numbers_because_two_scorers_of_one_slot_would_fence_each_other() -> None:
    target = scaled_object(document(), bootstrap=BROKER)["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "millrace-rain-scorer"}


def test_it_names_the_group_whose_lag_counts() -> None:
    told = trigger(scaled_object(document(), bootstrap=BROKER))
    assert (told["bootstrapServers"], told["consumerGroup"], told["topic"]) == (BROKER, "scorer-rain", "t")


def test_the_schema_finds_what_keda_would_not_take() -> None:
    scaled = scaled_object(document(), bootstrap=BROKER)
    trigger(scaled)["lagThreshold"] = 10  # type: ignore[assignment]
    with pytest.raises(jsonschema.ValidationError, match="10 is not of type 'string'"):
        jsonschema.validate(scaled, SCHEMA)
