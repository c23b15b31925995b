"""Every relative link of a document leads to a file, and to a heading where it names one."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
LINK: Final = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s]+)\)")
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def anchor(heading: str) -> str:
    """The heading's address, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings."""
    return set(map(anchor, HEADING.findall(page.read_text(encoding="utf-8"))))


def broken_links(page: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not (target.exists() and (not heading or heading in anchors(target))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("0*.md"))


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A Heading, here\n[a](page.md#a-heading-here) [b](absent.md) [c](#absent) [d](https://x)\n")
    assert broken_links(page) == ["absent.md", "#absent"]
