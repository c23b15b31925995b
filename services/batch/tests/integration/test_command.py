"""The command, with a model from the registry of a real broker."""

import json
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from batch_files import read_output, rows, write

from millrace.cli.app import run
from millrace.client import Client
from millrace.kafka.broker import LocalBroker
from millrace.testing.models import linear_bundle


@pytest.fixture
def model(broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", broker.kafka.bootstrap)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    name = f"batch-{uuid4().hex[:8]}"
    return Client(broker.kafka).models.push(linear_bundle(tmp_path / "bundle", name=name).directory).entry.name


def test_years_of_files_with_one_command(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for year in range(3):
        write(rows(500, seed=year), tmp_path / "years" / f"{year}.parquet")
    command = ["--model", model, "--input", str(tmp_path / "years"), "--output", f"file://{tmp_path}/out"]
    assert run(["batch", "run", *command, "--keep", "id", "--workers", "2", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["read"], told["scored"], told["is_complete"], told["share"]) == (1_500, 1_500, True, 1.0)
    table = read_output(tmp_path / "out")
    assert table.num_rows == 1_500
    assert set(map(os.path.basename, table.column("source_file").unique().to_pylist())) == {
        f"{year}.parquet" for year in range(3)
    }
    assert run(["batch", "status", "--output", str(tmp_path / "out")]) == 0
    assert "complete: 1,500 of 1,500 rows scored" in capfd.readouterr().out


def test_mistakes_are_refused_with_a_remedy(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["batch", "run", "--model", model, "--input", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    assert run(command) == 2
    assert "there is nothing at" in capfd.readouterr().err
    assert run([*command, "--credentials", "lake"]) == 2
    assert "set MILLRACE_CREDENTIALS__LAKE" in capfd.readouterr().err


def test_credentials_are_never_repeated(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_CREDENTIALS__LAKE", '{"auto_mkdir": true, "secret": "hunter2"}')
    write(rows(10), tmp_path / "in.parquet")
    command = ["--model", model, "--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out")]
    assert run(["batch", "run", *command, "--credentials", "lake"]) == 0
    assert "hunter2" not in "".join(capfd.readouterr())
    found = subprocess.run(["grep", "-r", "hunter2", str(tmp_path / "out")], capture_output=True, check=False)
    assert found.returncode == 1
