"""S41 and S42: between topics, files, tables, the web and Redis, without repeats or gaps; every part is a real one."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import fastavro
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet
import pytest

from millrace.client import Client, CopyOptions
from millrace.client.copying.files import FileSource
from millrace.client.copying.ports import End
from millrace.client.copying.running import Copied
from millrace.core.errors import RequestError
from millrace.kafka.reading import Reader
from millrace.process.settings import KafkaSettings
from millrace.store.local_redis import LocalRedis
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.running import serving
from millrace.testing.waiting import eventually

ROWS: Final = [{"id": number, "wind": number / 7, "station": f"s{number % 5}"} for number in range(1_000)]
PAGE: Final = CopyOptions(page_rows=100, key_field="id", cursor="id")


class Cut(Exception):  # noqa: N818 -- it is no error, it is what the test does
    """The process ends here."""


def cut_after(rows: int, copied: Copied) -> None:
    if copied.rows >= rows:
        raise Cut


def copy_with_a_cut(client: Client, source: str, sink: str, options: CopyOptions = PAGE) -> None:
    """Copy a third, end, go on, end, and go on to the end; once more, and there is nothing left to copy."""
    for _ in range(2):
        with pytest.raises(Cut):
            client.copy(source, sink, options, on_copied=lambda copied: cut_after(300, copied))
    client.copy(source, sink, options)
    assert client.copy(source, sink, options).rows == 0


def records(broker: Broker, topic: str) -> list[dict[str, Any]]:
    with Reader(broker.kafka, topic) as reader:
        rows = [orjson.loads(value or b"") for batch in reader for value in batch.values]
    return sorted(rows, key=lambda row: int(row["id"]))


def assert_records(broker: Broker, topic: str, rows: list[dict[str, Any]]) -> None:
    """A transaction's records appear soon after its commit has returned, one partition after the other."""
    eventually(lambda: len(records(broker, topic)) >= len(rows), what=f"{len(rows)} records of {topic}")
    assert records(broker, topic) == rows


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "days.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
    return path


@pytest.fixture
def filled(broker: Broker, topic: TopicFactory, lines: Path) -> str:
    """A topic that holds the rows."""
    name = topic("days", partitions=2)
    Client(broker.kafka).copy(str(lines), f"kafka:{name}", CopyOptions(key_field="id"))
    assert_records(broker, name, ROWS)
    return name


def test_s41_files_to_a_topic_and_back(broker: Broker, topic: TopicFactory, lines: Path, tmp_path: Path) -> None:
    name, client = topic("days", partitions=2), Client(broker.kafka)
    copy_with_a_cut(client, str(lines), f"kafka:{name}")
    assert_records(broker, name, ROWS)
    copy_with_a_cut(
        client, f"kafka:{name}", f"file://{tmp_path}/out", CopyOptions(file_format="parquet", page_rows=100)
    )
    found = pa.parquet.read_table(tmp_path / "out").sort_by("id")
    assert found.to_pylist() == ROWS


def test_s41_a_table_to_a_topic_and_back(
    broker: Broker, topic: TopicFactory, filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, base = Client(broker.kafka), Path("days.db")
    monkeypatch.chdir(tmp_path)
    copy_with_a_cut(client, f"kafka:{filled}", f"sqlite:///{base}#days")
    with sqlite3.connect(base) as connection:
        assert connection.execute("select id, wind, station from days order by id").fetchall() == [
            tuple(row.values()) for row in ROWS
        ]
    connection.close()
    back = topic("back")
    copy_with_a_cut(client, f"sqlite:///{base}#days", f"kafka:{back}")
    assert_records(broker, back, ROWS)


def test_s41_a_redis_stream_to_a_topic_and_back(
    broker: Broker, topic: TopicFactory, filled: str, redis: LocalRedis
) -> None:
    client, stream = Client(broker.kafka), f"{redis.settings.url}#{filled}"
    copy_with_a_cut(client, f"kafka:{filled}", stream)
    back = topic("back")
    copy_with_a_cut(client, stream, f"kafka:{back}")
    assert_records(broker, back, ROWS)


@pytest.fixture
def web() -> Iterator[str]:
    """Two pages of rows, the second of which the first names as next."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            second = self.path == "/second"
            body = orjson.dumps(ROWS[500:] if second else ROWS[:500])
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            if not second:
                self.send_header("Link", '</second>; rel="next"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/"


def test_s41_pages_of_the_web_to_a_topic(broker: Broker, topic: TopicFactory, web: str) -> None:
    name, client = topic("days"), Client(broker.kafka)
    with pytest.raises(RequestError, match="private network"):
        client.copy(web, f"kafka:{name}", PAGE)
    copy_with_a_cut(client, web, f"kafka:{name}", CopyOptions(page_rows=100, key_field="id", allow_private=True))
    assert_records(broker, name, ROWS)


def test_s41_a_killed_copy_neither_repeats_nor_skips(
    broker: Broker, topic: TopicFactory, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic("days", partitions=2)
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", broker.kafka.bootstrap)
    command = [sys.executable, "-c", "from millrace.cli.app import main; main()", "copy", str(lines), f"kafka:{name}"]
    with subprocess.Popen([*command, "--page-rows", "2"], stdout=subprocess.DEVNULL, env=os.environ) as process:
        eventually(lambda: len(records(broker, name)) > 20, what="some rows are copied", within=timedelta(seconds=60))
        process.send_signal(signal.SIGKILL)
    assert len(records(broker, name)) < len(ROWS)
    Client(broker.kafka).copy(str(lines), f"kafka:{name}", CopyOptions(page_rows=100))
    assert_records(broker, name, ROWS)


def test_a_part_that_counts_is_moved_by_the_next_run(broker: Broker, filled: str, tmp_path: Path) -> None:
    client, out = Client(broker.kafka), tmp_path / "out"
    client.copy(f"kafka:{filled}", str(out))
    [part] = out.glob("part-*")
    (out / "_staging").mkdir(exist_ok=True)
    part.rename(out / "_staging" / part.name)  # where it is when a run dies between the manifest and the move
    assert client.copy(f"kafka:{filled}", str(out)).rows == 0
    assert len(part.read_text().splitlines()) == len(ROWS)


PLUG_IN: Final = """
from millrace.client.copying.ports import Connector, Page

class Countdown:
    def __init__(self, end):
        self.first = int(end.uri.partition(":")[2])
    def pages(self, after):
        for number in range(after["at"] if after else self.first, 0, -1):
            yield Page([{"id": number}], {"at": number - 1})
    def close(self):
        pass

CONNECTOR = Connector(source=Countdown)
"""


def test_s41_a_plug_in_brings_a_scheme(
    broker: Broker, topic: TopicFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "countdown_plug_in.py").write_text(PLUG_IN)
    metadata = tmp_path / "countdown-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: countdown\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[millrace.connectors]\ncountdown = countdown_plug_in:CONNECTOR\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = topic("numbers")
    Client(broker.kafka).copy("countdown:5", f"kafka:{name}")
    assert_records(broker, name, [{"id": number} for number in range(1, 6)])
    with pytest.raises(RequestError, match="cannot be written"):
        Client(broker.kafka).copy(f"kafka:{name}", "countdown:5")


def written(folder: Path, suffix: str) -> Path:
    path, table = folder / f"days.{suffix}", pa.Table.from_pylist(ROWS)
    match suffix:
        case "json":
            path.write_bytes(orjson.dumps(ROWS))
        case "jsonl":
            path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
        case "csv":
            pa.csv.write_csv(table, path)
        case "parquet":
            pa.parquet.write_table(table, path)
        case "orc":
            pa.orc.write_table(table, path)
        case "arrow":
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
        case _:
            fields = [{"name": "id", "type": "long"}, {"name": "wind", "type": "double"}]
            schema = {"type": "record", "name": "Day", "fields": [*fields, {"name": "station", "type": "string"}]}
            with path.open("wb") as file:
                fastavro.writer(file, schema, ROWS)
    return path


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet", "arrow", "avro", "orc"])
def test_s42_every_format_gives_the_same_table(tmp_path: Path, suffix: str) -> None:
    end = End(str(written(tmp_path, suffix)), PAGE, "test", KafkaSettings(bootstrap="nowhere:9092"))
    pages = list(FileSource(end).pages(None))
    assert pa.Table.from_pylist([row for page in pages for row in page.rows]) == pa.Table.from_pylist(ROWS)


def test_s42_a_corrupt_row_goes_to_the_dead_letters_with_line_and_reason(
    broker: Broker, topic: TopicFactory, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"id":1}\n\n{"id":\n{"id":2}\n[3]\n')
    (tmp_path / "in" / "b.csv").write_text("id,wind\n3,1.5\n4\n5,2.5\n")
    name, client, letters = topic("days"), Client(broker.kafka), tmp_path / "dead.jsonl"
    with pytest.raises(RequestError, match="row 3 cannot be read"):
        client.copy(f"{tmp_path}/in", f"kafka:{name}")
    copied = client.copy(f"{tmp_path}/in", f"kafka:{name}", dead_letters=letters)
    assert (copied.rows, copied.refused) == (4, 3)
    eventually(lambda: [row["id"] for row in records(broker, name)] == [1, 2, 3, 5], what="the good rows arrive")
    found = [json.loads(line) for line in letters.read_text().splitlines()]
    assert [(Path(each["place"]).name, each["row"]) for each in found] == [("a.jsonl", 3), ("a.jsonl", 5), ("b.csv", 3)]
    assert [each["text"] for each in found] == ['{"id":', "[3]", "4"]
    assert all(each["reason"] for each in found)


def test_s78_a_password_in_a_uri_is_refused_and_not_repeated(broker: Broker) -> None:
    with pytest.raises(RequestError) as refused:
        Client(broker.kafka).copy("redis://me:hunter2@store:6379/0#days", "file:///tmp/out")
    assert "hunter2" not in str(refused.value)
