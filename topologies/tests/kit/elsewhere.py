"""Asks this project's code in the environment of an engine, whose Arrow and NumPy are other versions than here.

`Elsewhere` starts one of the programs beside this file there, and talks to it in lines of JSON. So many generated
cases go through an engine's environment in the time in which the engine itself starts.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KIT = Path(__file__).parent
_ROOT = _KIT.parents[2]
_PATHS = (_ROOT, _ROOT / "services/batch/src", _ROOT / "topologies/flink", _KIT)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A program of this kit that answers in another environment."""

    process: "subprocess.Popen[str]"

    def ask(self, question: object) -> Any:  # noqa: ANN401 - JSON
        """What the program's `answer` returns; what it raises ends it, and shows in the log of the test."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait()}"
        return json.loads(line)


@contextmanager
def elsewhere(python: Path, program: str) -> Iterator[Elsewhere]:
    """Run a program of this kit by another Python until the block ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, _PATHS))}
    process = subprocess.Popen(
        [str(python), str(_KIT / f"{program}.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        yield Elsewhere(process)


def serve(answer: Callable[[Any], object]) -> None:
    """Answer a line of JSON with a line of JSON, until nobody asks any more."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()
