"""Asks once more, alone and on a fresh broker, what failed in the run that just ended.

Tests that kill processes share a loaded machine with one another. One that passes only alone is a race, of the test or
of the product, and is named as such. What decides by itself, without processes, gets no second chance; nor do many.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

ROOT: Final = Path(__file__).parents[1]
FAILED: Final = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
KINDS: Final = {"integration", "e2e", "acceptance"}
MOST: Final = 3


def main() -> int:
    console = Console(stderr=True)
    failed = sorted(msgspec.json.decode(FAILED.read_bytes(), type=dict[str, bool])) if FAILED.exists() else []
    if not may_be_asked_again(failed):
        return 1
    console.rule("asked again, alone")
    run = subprocess.run([sys.executable, "-m", "pytest", *failed], cwd=ROOT, check=False)
    if not run.returncode:
        for test in failed:
            console.print(f"[yellow]a race, to be mended: failed beside others, passed alone[/] {test}", soft_wrap=True)
    return run.returncode


def may_be_asked_again(failed: Sequence[str]) -> bool:
    """Whether these are few, and all of them tests of real processes."""
    return 0 < len(failed) <= MOST and all(KINDS & set(Path(test.partition("::")[0]).parts) for test in failed)


if __name__ == "__main__":
    sys.exit(main())
