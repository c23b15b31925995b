"""What `make audit ADVISORIES=FOLDER` finds in a folder of advisories."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.advisories import hits, main, read_advisories, read_pins

PINS: Final = read_pins("Some_Package==1.5.0\nother==2.0\n# a comment\nwith-extra==1!3.0 ; sys_platform == 'x'\n")


def advisory(events: list[dict[str, str]], *, name: str = "some-package", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    package = {"ecosystem": "PyPI", "name": name}
    affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}], **changes}
    return {"id": "X-1", "modified": "2026-01-02T03:04:05Z", "aliases": ["CVE-1"], "affected": [affected]}


def test_names_are_those_of_the_index() -> None:
    assert [*PINS] == ["some-package", "other", "with-extra"]


@pytest.mark.parametrize(
    ("events", "is_hit"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "1.5"}], False),
        ([{"introduced": "0"}, {"fixed": "1.5.1"}], True),
        ([{"introduced": "1.5.1"}], False),
        ([{"introduced": "1.5.0"}, {"last_affected": "1.5.0"}], True),
        ([{"introduced": "0"}, {"last_affected": "1.4.9"}], False),
        ([{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "1.4"}, {"fixed": "1.10"}], True),
    ],
)
def test_a_version_between_coming_and_going_is_hit(events: list[dict[str, str]], is_hit: bool) -> None:
    assert bool([*hits(PINS, advisory(events))]) is is_hit


def test_a_version_that_is_listed_is_hit_and_told_with_its_remedy() -> None:
    [hit] = hits(PINS, advisory([{"introduced": "2"}, {"fixed": "3"}], versions=["1.5"]))
    assert str(hit) == "some-package 1.5.0: X-1 (CVE-1), mended in 3"


def test_another_package_and_another_ecosystem_are_not() -> None:
    everything = [{"introduced": "0"}]
    assert [*hits(PINS, advisory(everything, name="some"))] == []
    other = advisory(everything)
    other["affected"][0]["package"]["ecosystem"] = "npm"
    assert [*hits(PINS, other)] == []


def test_files_of_both_formats_are_read_and_what_was_taken_back_is_not(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.json").write_text(json.dumps(advisory([{"introduced": "0"}])))
    (tmp_path / "b.yaml").write_text(
        "id: Y-1\naffected:\n- package: {ecosystem: PyPI, name: other}\n  versions: [2.0]\n"
    )
    (tmp_path / "c.json").write_text(json.dumps({**advisory([]), "withdrawn": "2026-01-01T00:00:00Z"}))
    (tmp_path / "d.json").write_text('{"name": "no advisory"}')
    found = [hit.package for each in read_advisories(tmp_path) for hit in hits(PINS, each)]
    assert found == ["other", "some-package"]


def test_an_empty_folder_is_no_good_news(tmp_path: Path) -> None:
    assert main(tmp_path) == 2
