"""S41: rows to a server that takes each page once, by its key: no gap and no repeat, whatever dies between."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Final

import orjson
import pytest

from millrace.client import Client, CopyOptions
from millrace.core.errors import RequestError, TransientError
from millrace.kafka.reading import Reader
from millrace.store.local_redis import LocalRedis
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.running import serving
from millrace.testing.waiting import eventually

ROWS: Final = [{"id": number, "wind": number / 7} for number in range(1_000)]
LATER: Final = [{"id": number, "wind": number / 7} for number in range(1_000, 1_050)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says to a page, which it has taken all the same if it says so."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_taken: bool = True


@dataclass(slots=True)
class Desk:
    """A server that takes each key once.

    Attributes:
        address: Where it listens.
        pages: What was taken, by its key.
        sent: Keys in the order of the requests.
        answer: Says what is answered to the request of this number, from 1.
    """

    address: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    answer: Callable[[int], Answer] = lambda _: Answer()

    def take(self, key: str, body: bytes) -> Answer:
        self.sent.append(key)
        answer = self.answer(len(self.sent))
        if answer.is_taken:
            assert self.pages.setdefault(key, body) == body, "another page came under the key of a known one"
        return answer

    @property
    def rows(self) -> list[int]:
        return sorted(orjson.loads(line)["id"] for body in self.pages.values() for line in body.splitlines())


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = desk.take(self.headers["Idempotency-Key"], self.rfile.read(int(self.headers["Content-Length"])))
            if answer.status:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None: ...

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        desk.address = f"http://127.0.0.1:{server.server_port}/rows"
        yield desk


def append(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("ab") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)


def fill(broker: Broker, name: str, lines: Path, count: int) -> None:
    """Bring the lines into the topic, and wait until so many records can be read."""
    Client(broker.kafka).copy(str(lines), f"kafka:{name}", CopyOptions(key_field="id"))

    def readable() -> bool:
        with Reader(broker.kafka, name) as reader:
            return sum(map(len, reader)) == count

    eventually(readable, what=f"{count} records of {name}")


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    append(tmp_path / "days.jsonl", ROWS)
    return tmp_path / "days.jsonl"


@pytest.fixture
def days(broker: Broker, topic: TopicFactory, lines: Path) -> str:
    """A topic that holds the lines."""
    name = topic("days", partitions=2)
    fill(broker, name, lines, len(ROWS))
    return name


@pytest.fixture
def client(broker: Broker) -> Client:
    return Client(broker.kafka)


@pytest.fixture
def options(topic: TopicFactory) -> CopyOptions:
    return CopyOptions(name=topic("copy"), page_rows=400, cursor="id", allow_private=True)


COPY: Final = "from millrace.cli.app import main; main()"


@pytest.mark.parametrize(("page_rows", "killed_at"), [(10_000, 1), (400, 2)], ids=["last page", "a page"])
def test_s41_a_killed_copy_to_the_web_leaves_no_gap_and_no_repeat(
    broker: Broker, days: str, lines: Path, desk: Desk, *, page_rows: int, killed_at: int
) -> None:
    victims: Queue[subprocess.Popen[bytes]] = Queue()

    def kill(number: int) -> Answer:
        if number != killed_at:
            return Answer()
        victim = victims.get()
        victim.kill()
        victim.wait()
        return Answer(0)  # it is taken, and nobody is there any more who would hear it

    desk.answer = kill
    command = [sys.executable, "-c", COPY, "copy", f"kafka:{days}", desk.address, "--allow-private-hosts"]
    command += ["--page-rows", str(page_rows), "--name", days]
    environment = {**os.environ, "MILLRACE_KAFKA__BOOTSTRAP": broker.kafka.bootstrap}
    with subprocess.Popen(command, env=environment) as process:
        victims.put(process)
    assert len(desk.sent) == killed_at
    append(lines, LATER)
    fill(broker, days, lines, 1_050)  # the page that was sent would be longer now

    subprocess.run(command, check=True, env=environment)
    assert desk.rows == list(range(1_050))
    assert desk.sent[killed_at] == desk.sent[killed_at - 1], "what was under way is sent again first, under its key"
    requests = len(desk.sent)
    subprocess.run(command, check=True, env=environment)
    assert len(desk.sent) == requests


@dataclass(frozen=True, slots=True)
class Growing:
    """A source, and what adds rows to it."""

    uri: str
    grow: Callable[[list[dict[str, float]]], None]


@pytest.fixture(params=["file", "table", "stream"])
def growing(
    request: pytest.FixtureRequest, client: Client, redis: LocalRedis, topic: TopicFactory, tmp_path: Path
) -> Growing:
    path = tmp_path / "growing.jsonl"
    if request.param == "file":
        return Growing(str(path), lambda rows: append(path, rows))
    uri = f"sqlite:///{tmp_path}/days.db#days" if request.param == "table" else f"{redis.settings.url}#{topic('days')}"

    def grow(rows: list[dict[str, float]]) -> None:
        append(path, rows)
        client.copy(str(path), uri)

    return Growing(uri, grow)


def test_s41_a_page_that_is_sent_again_is_the_same_page(
    client: Client, growing: Growing, desk: Desk, options: CopyOptions
) -> None:
    """The last page of 400, 400 and 200 rows is taken, and nobody knows it; then the source grows."""
    growing.grow(ROWS)
    desk.answer = lambda number: Answer(500) if number == 3 else Answer()
    with pytest.raises(RequestError, match="answers 500"):
        client.copy(growing.uri, desk.address, options)
    growing.grow(LATER)
    assert client.copy(growing.uri, desk.address, options).rows == 250
    assert desk.rows == list(range(1_050))
    assert desk.sent[2] == desk.sent[3]


def test_patience_is_what_the_server_asks_for(client: Client, lines: Path, desk: Desk, options: CopyOptions) -> None:
    answers = {
        1: Answer(429, {"Retry-After": "0"}, is_taken=False),
        2: Answer(503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        3: Answer(503, {"Retry-After": "0"}),
    }
    desk.answer = lambda number: answers.get(number, Answer())
    assert client.copy(str(lines), desk.address, options).rows == 1_000
    assert len(desk.sent) == 6, "three pages, the first of them four times"
    assert desk.rows == list(range(1_000))


def test_a_server_that_asks_for_an_hour_ends_the_copy(
    client: Client, lines: Path, desk: Desk, options: CopyOptions
) -> None:
    desk.answer = lambda _: Answer(429, {"Retry-After": "3600"}, b"later", is_taken=False)
    with pytest.raises(TransientError, match="answers 429: later"):
        client.copy(str(lines), desk.address, options)
    assert len(desk.sent) == 1


def test_a_refusal_is_told_with_the_servers_words_and_the_page_is_sent_again(
    client: Client, lines: Path, desk: Desk, options: CopyOptions
) -> None:
    desk.answer = lambda number: (
        Answer(422, {}, b"the field\n wind is\tunknown", is_taken=False) if number == 1 else Answer()
    )
    with pytest.raises(RequestError, match="answers 422: the field wind is unknown"):
        client.copy(str(lines), desk.address, options)
    client.copy(str(lines), desk.address, options)
    assert desk.sent[0] == desk.sent[1]
    assert desk.rows == list(range(1_000))


def test_a_private_network_is_refused_before_anything_is_sent(client: Client, lines: Path, desk: Desk) -> None:
    with pytest.raises(RequestError, match="private network"):
        client.copy(str(lines), desk.address)
    assert not desk.sent


def test_a_source_that_cannot_repeat_itself_is_refused(client: Client, desk: Desk, options: CopyOptions) -> None:
    with pytest.raises(RequestError, match="cannot give a page again"):
        client.copy(desk.address, desk.address, options)
    assert not desk.sent
