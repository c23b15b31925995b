from pathlib import Path

from millrace.core.records import NextOffset, Offset, TopicPartition
from millrace.kafka.admin import PartitionEnds, hanging
from millrace.kafka.server import Ports, properties_text, server_properties

PORTS = Ports(client=1, internal=2, controller=3)


def test_clients_have_a_listener_of_their_own() -> None:
    properties = server_properties(Path("/data"), PORTS, {})
    assert properties["listeners"] == "CLIENT://127.0.0.1:1,INTERNAL://127.0.0.1:2,CONTROLLER://127.0.0.1:3"
    assert properties["inter.broker.listener.name"] == "INTERNAL"
    assert PORTS.bootstrap == "127.0.0.1:1"


def test_further_properties_have_the_last_word() -> None:
    properties = server_properties(Path("/data"), PORTS, {"num.io.threads": "1", "mine": "yes"})
    assert (properties["num.io.threads"], properties["mine"]) == ("1", "yes")


def test_further_listeners_are_there_for_clients_too() -> None:
    properties = server_properties(Path("/data"), PORTS, {}, further={"TOKEN": 4})
    assert properties["listeners"].endswith(",TOKEN://127.0.0.1:4")
    assert properties["advertised.listeners"].endswith(",TOKEN://127.0.0.1:4")


def test_values_are_escaped_as_java_reads_them() -> None:
    assert properties_text({"log.dirs": "C:\\data\\Müller \U0001f600"}) == (
        "log.dirs=C:\\\\data\\\\M\\u00fcller \\ud83d\\ude00\n"
    )


class TestHanging:
    partition = TopicPartition("a", 0)

    def ends(self, stable: int, high: int) -> dict[TopicPartition, PartitionEnds]:
        return {self.partition: PartitionEnds(Offset(0), NextOffset(stable), NextOffset(high))}

    def test_one_transaction_that_stays_open_hangs(self) -> None:
        assert hanging(self.ends(5, 6), self.ends(5, 9)) == [self.partition]

    def test_another_one_does_not(self) -> None:
        assert hanging(self.ends(5, 6), self.ends(8, 9)) == []

    def test_none_does_not(self) -> None:
        assert hanging(self.ends(5, 5), self.ends(5, 6)) == []
        assert hanging({}, self.ends(5, 6)) == []
