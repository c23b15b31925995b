"""Generated documents are current, and the check says so when they are not."""

from pathlib import Path

import pytest

from docs.generate import GENERATED, is_current, main
from docs.pages.topic_files import ROOT, topic_files
from docs.pages.topics import data_flow


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_document_is_current(name: str) -> None:
    assert is_current(ROOT / name, GENERATED[name]()), "run `make docs` and commit what it wrote"


def test_generating_twice_gives_the_same() -> None:
    assert {name: text() for name, text in GENERATED.items()} == {name: text() for name, text in GENERATED.items()}


def test_a_document_that_somebody_edited_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert not is_current(page, "a\n")
    page.write_text("a\n")
    assert is_current(page, "a\n")
    assert not is_current(page, "b\n")


def test_the_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chekc"]) == 2
    assert "usage: python -m docs.generate [--check]" in capsys.readouterr().err


def test_the_check_of_a_current_tree_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_the_picture_shows_every_topic_with_its_writers_and_readers() -> None:
    picture = data_flow(topic_files())
    for topic in topic_files():
        node = topic.subject.replace("-", "_")
        assert f"    {node}[(" in picture
        assert f"--> {node}\n" in picture
        assert f"    {node} --> " in picture
