"""A transform that cannot work is refused by the number of its step, before any cluster is asked."""

import json
from pathlib import Path

import pytest

from millrace.cli.app import run

NOWHERE = ["--bootstrap", "127.0.0.1:1"]
"""What went there would be told as a cluster that does not answer."""


@pytest.mark.parametrize(
    "second",
    [
        {"step": "polish", "columns": ["a"]},
        {"step": "scale", "columns": ["t"]},
        {"step": "compute", "into": "b", "expression": "t * 2"},
        {"step": "clip", "columns": ["absent"], "low": 0},
    ],
    ids=["unknown step", "type of a column", "type in an expression", "missing column"],
)
def test_what_cannot_work_is_refused_before_it_is_pushed(
    second: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [{"step": "compute", "into": "c", "expression": "a * 2"}, second]
    wrong = {"transform": "wrong", "input": [{"name": "a"}, {"name": "t", "type": "string"}], "steps": steps}
    document, data = tmp_path / "t.json", tmp_path / "days.csv"
    document.write_text(json.dumps(wrong))
    data.write_text("a,t\n1,x\n3,y\n")
    for command in (["fit", str(document), "--data", str(data)], ["import", str(document)]):
        assert run(["transform", *command, *NOWHERE]) != 0
        assert "step 2" in capsys.readouterr().err
