from pathlib import Path

import pytest

from millrace.client.local import broker_status, find_kafka
from millrace.core.errors import RequestError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    return tmp_path


def test_the_broker_that_is_named_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", "elsewhere:9092")
    assert find_kafka("here:9092").bootstrap == "here:9092"
    assert find_kafka().bootstrap == "elsewhere:9092"


def test_a_named_broker_keeps_the_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BOOTSTRAP": "elsewhere:9092",
        "SECURITY_PROTOCOL": "sasl_plaintext",
        "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": "anna",
        "SASL_PASSWORD": "sesame",
    }.items():
        monkeypatch.setenv(f"MILLRACE_KAFKA__{name}", value)
    kafka = find_kafka("here:9092")
    assert (kafka.bootstrap, kafka.sasl_username) == ("here:9092", "anna")


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(RequestError, match="'nonsense' names no broker") as refused:
        find_kafka("nonsense")
    assert "HOST:PORT" in refused.value.remedy


def test_without_any_broker_the_remedy_names_the_ways() -> None:
    with pytest.raises(RequestError, match="no broker is named, and no local one runs") as refused:
        find_kafka()
    assert "millrace up" in refused.value.remedy
    assert "--bootstrap" in refused.value.remedy


def test_a_home_without_a_broker_says_so(home: Path) -> None:
    status = broker_status()
    assert not status.running
    assert status.home == home
