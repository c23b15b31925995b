"""Whatever stands in a file, it is a deployment or an error with a remedy."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millrace.core.errors import RequestError
from millrace.process.deployment import Deployment

SECTIONS = ("source", "sink", "slo", "batch", "overload", "runtime", "limits", "group")
FIELDS = ("topic", "format", "max_records", "latency_ms", "providers", "schemas", "depth", "protocol", "registry")
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))
sections = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)
documents = st.fixed_dictionaries(
    {
        "deployment": st.just("rain") | values,
        "source": st.just({"topic": "t"}) | sections,
        "model": st.just("m") | values,
    },
    optional=dict.fromkeys(SECTIONS[1:], sections | values),
)


def outcome(read: Callable[[], Deployment]) -> Deployment | RequestError:
    """What reading comes to. Any other exception fails the test."""
    try:
        return read()
    except RequestError as error:
        return error


@given(documents)
def test_a_document_is_a_deployment_or_refused(document: dict[str, Any]) -> None:
    match outcome(lambda: Deployment.parse(document, subject="a test")):
        case RequestError() as error:
            assert error.message.startswith("a test: ")
            assert error.remedy
            assert "\n" not in str(error)
        case deployment:
            assert Deployment.parse(deployment.document(), subject="itself") == deployment


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from((".yaml", ".json")))
def test_a_file_is_a_deployment_or_refused_by_its_name(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"deployment{suffix}"
        path.write_bytes(content)
        error = outcome(lambda: Deployment.load(path))
    assert isinstance(error, RequestError)
    assert str(path) in error.message
    assert error.remedy
