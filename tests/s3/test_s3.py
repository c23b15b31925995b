"""S17 and S78: jobs and copies whose files are in S3, with credentials that have a name."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset
import pytest
from batch_files import job, rows, write
from pyarrow.fs import FileType, S3FileSystem

from millrace.cli.app import run
from millrace.client import Client, CopyOptions
from millrace.core.errors import RequestError
from millrace.kafka.reading import Reader
from millrace.serving.bundle import Bundle
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually
from millrace_batch.app import Resources, run_job
from millrace_batch.logic.job import Job

SECRET = "hunter2-and-all-the-others"  # noqa: S105 -- planted, and looked for


@dataclass(frozen=True, slots=True)
class S3:
    """A server that runs.

    Attributes:
        options: What opens it.
        lake: Folder of this machine in which the objects of its bucket `lake` lie.
    """

    options: dict[str, str]
    lake: Path

    @property
    def credentials(self) -> str:
        """As the environment has them."""
        return json.dumps(self.options)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3]:
    port, root, side = _free_port(), tmp_path / "s3", tmp_path / "side"
    (root / "lake").mkdir(parents=True)
    side.mkdir()
    command = [os.environ["MILLRACE_VERSITYGW"], "--port", f"127.0.0.1:{port}", "--quiet"]
    environment = {**os.environ, "ROOT_ACCESS_KEY": "millrace", "ROOT_SECRET_KEY": SECRET}
    options = {
        "access_key": "millrace",
        "secret_key": SECRET,
        "endpoint_override": f"127.0.0.1:{port}",
        "scheme": "http",
        "region": "us-east-1",
    }

    def answers() -> bool:
        try:
            return bool(S3FileSystem(**options).get_file_info("lake").type is FileType.Directory)
        except OSError:
            return False

    with subprocess.Popen([*command, "posix", "--sidecar", str(side), str(root)], env=environment) as server:
        eventually(answers, what="the S3 server answers")
        yield S3(options, root / "lake")
        server.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return linear_bundle(tmp_path / "bundle", name=f"linear-{uuid4().hex[:8]}")


def in_s3(bundle: Bundle) -> Job:
    return replace(
        job(bundle, Path("in"), Path("out"), split_rows=2_000), input="s3://lake/years", output="s3://lake/out"
    )


def predictions(folder: Path) -> pa.Table:
    """Without the column that says where the input was."""
    return pa.dataset.dataset(folder, format="parquet").to_table().sort_by("id").drop_columns(["source_file"])


def test_s17_s3_and_files_give_the_same(bundle: Bundle, s3: S3, tmp_path: Path) -> None:
    write(rows(6_000), s3.lake / "years" / "rows.parquet")
    here = job(bundle, s3.lake / "years", tmp_path / "out", split_rows=2_000)
    run_job(here, Resources(bundle.directory))
    done = run_job(in_s3(bundle), Resources(bundle.directory, None, 2, s3.options, s3.options))
    assert (done.scored, done.is_complete) == (6_000, True)
    assert (s3.lake / "out" / "_manifest.json").exists()
    assert not (s3.lake / "out" / "_staging" / "parts").exists()
    assert predictions(s3.lake / "out").equals(predictions(tmp_path / "out"))


def test_s17_a_wrong_key_is_refused_with_the_uri_before_anything_runs(bundle: Bundle, s3: S3) -> None:
    wrong = s3.options | {"secret_key": "wrong"}
    with pytest.raises(RequestError, match="s3://lake/out refuses these credentials"):
        run_job(in_s3(bundle), Resources(bundle.directory, None, 1, wrong, wrong))
    assert not (s3.lake / "out").exists()


def test_s41_a_topic_to_s3_and_back(broker: Broker, topic: TopicFactory, s3: S3) -> None:
    client, there, back = Client(broker.kafka), topic("days"), topic("back")
    client.send(there, [{"id": number} for number in range(500)])
    put = CopyOptions(file_format="parquet", sink_credentials=s3.options)
    assert client.copy(f"kafka:{there}", "s3://lake/days", put).rows == 500
    assert client.copy(f"kafka:{there}", "s3://lake/days", put).rows == 0
    assert client.copy("s3://lake/days", f"kafka:{back}", CopyOptions(source_credentials=s3.options)).rows == 500


def test_s78_a_secret_is_in_no_file_no_output_and_no_topic(  # noqa: PLR0917 -- fixtures
    broker: Broker,
    bundle: Bundle,
    s3: S3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write(rows(100), s3.lake / "years" / "rows.parquet")
    (tmp_path / "lake.json").write_text(s3.credentials)
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", broker.kafka.bootstrap)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MILLRACE_CREDENTIALS__LAKE_FILE", str(tmp_path / "lake.json"))
    model = Client(broker.kafka).models.push(bundle.directory).entry.name
    command = ["batch", "run", "--model", model, "--input", "s3://lake/years", "--output", "s3://lake/out"]
    assert run([*command, "--credentials", "lake"]) == 0
    assert run(["batch", "status", "--output", "s3://lake/out", "--credentials", "lake", "--json"]) == 0
    monkeypatch.setenv("MILLRACE_CREDENTIALS__OTHER", s3.credentials.replace("millrace", "nobody"))
    assert run([*command, "--credentials", "other"]) != 0
    monkeypatch.setenv("MILLRACE_CREDENTIALS__BROKEN", s3.credentials + "}")
    assert run([*command, "--credentials", "broken"]) != 0

    assert SECRET not in "".join(capfd.readouterr())
    (tmp_path / "lake.json").unlink()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    for name in ("millrace.models", "millrace.copies"):
        with Reader(broker.kafka, name) as reader:
            assert not any(SECRET.encode() in (value or b"") for batch in reader for value in batch.values)
