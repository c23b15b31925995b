"""The batch scorer, which is a program of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millrace.core.errors import FatalError, RequestError
from millrace.process.lifecycle import ExitCode
from millrace.process.settings import KafkaSettings


def batch_program() -> str:
    """The path of the batch scorer: that of this environment, else the one of the search path.

    Raises:
        RequestError: It is not installed.
    """
    beside = Path(sys.executable).with_name("millrace-batch")
    program = str(beside) if beside.exists() else shutil.which("millrace-batch")
    if program is None:
        raise RequestError("the batch scorer is not installed", remedy="pip install millrace-batch")
    return program


def score_files(
    kafka: KafkaSettings, model: str, source: str, sink: str, *, keep: Sequence[str] = ()
) -> dict[str, Any]:
    """Score files with a model of the registry, and say how it went. Blocks until all is published.

    Called again after any death, it goes on where it was.

    Args:
        kafka: The cluster of the registry; its credentials come from the environment, as those of files do.
        model: `name/3`, `name@alias` or `name`.
        source: URI or path of a file or a folder.
        sink: URI or path of the folder for the Parquet files.
        keep: Columns to copy.

    Returns:
        The progress at the end, as `millrace batch run --json` writes it.

    Raises:
        RequestError: The job cannot work as written, or the batch scorer is not installed.
        FatalError: It failed; says what the batch scorer said.
    """
    kept = [word for column in keep for word in ("--keep", column)]
    words = ["run", "--model", model, "--input", source, "--output", sink, *kept, "--json"]
    environment = {**os.environ, "MILLRACE_KAFKA__BOOTSTRAP": kafka.bootstrap}
    done = subprocess.run([batch_program(), *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode == ExitCode.DONE:
        progress: dict[str, Any] = json.loads(done.stdout)
        return progress
    kind = RequestError if done.returncode == ExitCode.REFUSED else FatalError
    said = done.stderr.strip() or f"it ended with exit code {done.returncode}"
    raise kind(f"the batch scorer did not score {source}: {said}", remedy="do as it says, and call again")
