import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from millrace.core.errors import RequestError
from millrace.kafka.free_ports import choose_ports, is_free, require_free
from millrace.kafka.server import HOST, Ports


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.create_server((HOST, 0))) as server:
        yield server.getsockname()[1]


def test_a_port_with_a_server_is_not_free(taken: int) -> None:
    assert not is_free(taken)
    with pytest.raises(RequestError, match=f"port {taken} is in use"):
        require_free(taken)


def test_the_same_seed_finds_the_same_ports() -> None:
    first, again = choose_ports(7), choose_ports(7)
    assert first == again
    assert len({first.client, first.internal, first.controller}) == 3
    assert 20_000 <= first.client < 30_000


def test_a_chosen_port_is_kept(taken: int) -> None:
    assert choose_ports(7, client=9092).client == 9092


def test_ports_of_before_are_kept_where_they_are_free(taken: int) -> None:
    free = choose_ports(99)
    wanted = Ports(free.client, taken, free.controller)
    found = choose_ports(7, wanted=wanted)
    assert (found.client, found.controller) == (free.client, free.controller)
    assert found.internal != taken
