"""The guides are true: their blocks are run in their order, as a reader would run them.

Blocks of `bash` are typed into one shell. Other blocks whose first line is `# NAME` are files. Everything happens in a
temporary folder, with a broker and models of its own.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from millrace.client.node import local_nodes
from millrace.kafka.broker import LocalBroker

ROOT = Path(__file__).parents[3]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r"^```(?P<language>[a-z]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (?P<name>[\w.-]+\.\w+)\n")

PREAMBLE = """
set -euo pipefail
set -m  # job control, as in a reader's own shell
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a guide."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that the block shows."""
        match = FILE.match(self.text)
        return match["name"] if match and self.language != "bash" else None

    def script(self) -> str:
        """What to type into the shell for it."""
        if self.language == "bash":
            return f"echo '### line {self.line}'\n{self.text}"
        if self.file is None:
            return ""
        return f"printf %s {shlex.quote(self.text)} > {shlex.quote(self.file)}\n"


def blocks(markdown: str) -> Iterator[Block]:
    for match in BLOCK.finditer(markdown):
        yield Block(match["language"], match["text"], markdown.count("\n", 0, match.start()) + 1)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder of millrace; whatever a guide leaves running in it is ended."""
    folder = tmp_path / "home"
    folder.mkdir()
    yield folder
    for node in local_nodes(folder):
        os.kill(node.pid or 0, signal.SIGKILL)  # What it runs ends with its lease.
    LocalBroker(folder).kill()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_does_what_it_says(guide: Path, home: Path, tmp_path: Path) -> None:
    script = PREAMBLE + "\n".join(block.script() for block in blocks(guide.read_text("utf-8")))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_KAFKA")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = tmp_path / "said.txt"
    # A file and no pipe: a pipe would stay open as long as anything that the guide has started.
    with said.open("wb") as output:
        run = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**inherited, "PATH": path, "MILLRACE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=240,
            check=False,
        )
    assert run.returncode == 0, said.read_text("utf-8")
    assert not LocalBroker(home).status().running, "the guide leaves its broker running"


def test_there_are_guides_and_they_have_blocks() -> None:
    assert GUIDES
    assert all(any(block.language == "bash" for block in blocks(guide.read_text("utf-8"))) for guide in GUIDES)


def test_a_block_with_a_name_becomes_a_file(tmp_path: Path) -> None:
    (block,) = blocks("text\n```yaml\n# a.yaml\nkey: it's\n```\n")
    assert (block.file, block.line) == ("a.yaml", 2)
    subprocess.run(["bash", "-c", block.script()], cwd=tmp_path, check=True)
    assert (tmp_path / "a.yaml").read_text("utf-8") == block.text
