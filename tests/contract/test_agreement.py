"""What is written down in two rooms, because neither may import the other, is the same in both."""

import pytest
from pydantic import TypeAdapter

from docs.pages.topic_files import Cleanup, topic_files
from millrace.codec.limits import Limits
from millrace.kafka.admin import TopicSpec
from millrace.kafka.control_writer import CONTROL_TOPICS
from millrace.process.deployment import Deployment, ModelReference
from millrace.serving.catalogue import Reference


def test_limits_have_one_default() -> None:
    deployment = Deployment.parse({"deployment": "d", "source": {"topic": "t"}, "model": "m"}, subject="a test")
    assert Limits(**deployment.limits.model_dump()) == Limits()


@pytest.mark.parametrize("spec", CONTROL_TOPICS, ids=lambda spec: spec.name)
def test_control_topics_are_made_as_their_files_say(spec: TopicSpec) -> None:
    file = next(topic for topic in topic_files() if topic.topic == spec.name)
    assert file.partitions == spec.partitions
    if file.cleanup == Cleanup.KEEP:
        assert (spec.config["cleanup.policy"], spec.config["retention.ms"]) == ("delete", "-1")
    else:
        assert spec.config["cleanup.policy"] == file.cleanup


@pytest.mark.parametrize("text", ["weather", "weather@champion", "weather/3", "a.b_c-d@x-1"])
def test_a_deployments_model_is_a_reference_of_the_registry(text: str) -> None:
    assert TypeAdapter(ModelReference).validate_python(text) == text
    Reference.parse(text)
