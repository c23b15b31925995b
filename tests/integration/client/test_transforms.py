"""Transforms as versions in the registry of a real broker, and as commands."""

import json
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet
import pytest

from millrace.cli.app import run
from millrace.client import Client
from millrace.core.errors import RequestError
from millrace.kafka.broker import LocalBroker
from millrace.kafka.history import read_history
from millrace.transform import Program, Transform

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def name() -> str:
    return f"transform-{uuid4().hex[:8]}"


def document(name: str) -> dict[str, object]:
    steps = [{"step": "scale", "columns": ["a"]}, {"step": "compute", "into": "b", "expression": "a * 2"}]
    return {"transform": name, "input": [{"name": "a"}], "steps": steps}


def program(name: str, *values: float) -> Program:
    return Program.fit(Transform.parse(document(name), subject="test"), pa.table({"a": list(values)}))


def test_versions_are_numbered_and_the_same_one_keeps_its_number(broker: LocalBroker, name: str) -> None:
    transforms = Client(broker.kafka).transforms
    first, second = transforms.push(program(name, 1, 2)), transforms.push(program(name, 1, 3))
    assert [first.reference, second.reference] == [f"{name}/1", f"{name}/2"]
    assert transforms.push(program(name, 1, 2)) == first
    assert transforms.list(name) == (first, second)
    assert transforms.show(name) == second
    assert transforms.show(f"{name}/1").open().fingerprint == program(name, 1, 2).fingerprint


def test_the_history_knows_who_pushed_and_models_are_not_disturbed(broker: LocalBroker, name: str) -> None:
    client = Client(broker.kafka)
    client.transforms.push(program(name, 1, 2))
    assert [record.entry.what for record in read_history(broker.kafka, subject=f"transform:{name}")] == [
        "push transform"
    ]
    assert name not in {version.entry.name for version in client.models.list()}


def test_what_there_is_not_is_said(broker: LocalBroker, name: str) -> None:
    transforms = Client(broker.kafka).transforms
    with pytest.raises(RequestError, match="there is no transform"):
        transforms.show(name)
    transforms.push(program(name, 1, 2))
    with pytest.raises(RequestError, match=r"versions that exist: 1"):
        transforms.show(f"{name}/9")


def test_s45_export_import_export_is_the_same_text(
    broker: LocalBroker, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", broker.kafka.bootstrap)
    (tmp_path / "t.json").write_text(json.dumps(document(name)))
    (tmp_path / "days.csv").write_text("a,other\n1,x\n3,y\n")

    assert run(["transform", "fit", str(tmp_path / "t.json"), "--data", str(tmp_path / "days.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert run(["transform", "export", name, str(tmp_path / "one.json")]) == 0
    assert run(["transform", "import", str(tmp_path / "one.json")]) == 0
    assert run(["transform", "export", f"{name}/1", str(tmp_path / "two.json")]) == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()

    source, target = tmp_path / "new.csv", tmp_path / "new.parquet"
    source.write_text("a\n3\nnone\n")
    capsys.readouterr()
    assert run(["transform", "apply", name, str(source), str(target), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["read"], told["written"], told["refused_rows"]) == (2, 1, 1)
    assert pa.parquet.read_table(target).to_pydict() == {"a": [1.0], "b": [2.0]}

    assert run(["transform", "list", name]) == 0
    assert run(["transform", "show", name]) == 0
    shown = capsys.readouterr().out
    assert f"{name}/1" in shown
    assert "a * 2" in shown
