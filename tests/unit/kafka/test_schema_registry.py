from collections.abc import Iterator
from datetime import timedelta

import pytest

from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.kafka.schema_registry import SchemaRegistry
from millrace.testing.clock import ManualClock
from millrace.testing.schema_registry import RegistryServer, running_registry


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with running_registry() as running:
        running.schemas[7] = '"string"'
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(server: RegistryServer, clock: ManualClock) -> Iterator[SchemaRegistry]:
    made = SchemaRegistry(server.url, clock=clock, unknown_for=timedelta(seconds=10), most_unknown=2)
    yield made
    made.close()


def test_a_schema_is_asked_for_once(server: RegistryServer, registry: SchemaRegistry) -> None:
    assert [registry.schema(7) for _ in range(3)] == ['"string"'] * 3
    assert len(server.asked) == 1


def test_an_unknown_id_is_asked_for_again_after_a_while(
    server: RegistryServer, registry: SchemaRegistry, clock: ManualClock
) -> None:
    assert registry.schema(9) is None
    server.schemas[9] = '"long"'
    assert registry.schema(9) is None
    clock.advance(timedelta(seconds=10))
    assert registry.schema(9) == '"long"'


def test_invented_ids_cannot_make_it_ask_without_end(
    server: RegistryServer, registry: SchemaRegistry, clock: ManualClock
) -> None:
    assert [registry.schema(schema_id) for schema_id in range(100, 200)] == [None] * 100
    assert len(server.asked) == 2
    clock.advance(timedelta(seconds=10))
    assert registry.schema(7) == '"string"'


def test_a_registry_in_trouble_is_transient(server: RegistryServer, registry: SchemaRegistry) -> None:
    server.status = 500
    with pytest.raises(TransientError, match="fails"):
        registry.schema(7)
    server.status = None
    assert registry.schema(7) == '"string"'


def test_a_registry_that_is_away_is_transient_and_its_password_stays_secret(clock: ManualClock) -> None:
    registry = SchemaRegistry("http://user:secret@127.0.0.1:1", clock=clock)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
        registry.schema(7)
    assert "secret" not in str(caught.value)
    with pytest.raises(TransientError, match="cannot be reached"):
        registry.register("s", '"string"')
    registry.close()


def test_refused_credentials_are_fatal(server: RegistryServer, registry: SchemaRegistry) -> None:
    server.status = 401
    with pytest.raises(FatalError, match="refuses the credentials"):
        registry.schema(7)


def test_registering(server: RegistryServer, registry: SchemaRegistry) -> None:
    assert registry.register("rain.predictions-value", '"int"') == 8
    assert registry.schema(8) is not None
    server.status = 409
    with pytest.raises(RequestError, match="refuses the schema of other"):
        registry.register("other", '"long"')
