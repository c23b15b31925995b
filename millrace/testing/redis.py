"""The online store that tests run against: a real Valkey, started for the run, gone with it however it ends."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from millrace.store.local_redis import LocalRedis


@contextmanager
def temporary_redis(options: Mapping[str, str] | None = None) -> Iterator[LocalRedis]:
    """Run an online store until the block ends, in a temporary folder that goes with it.

    Args:
        options: Of the server, by the names of its configuration file. Without any it keeps nothing over a restart.
    """
    home = Path(tempfile.mkdtemp(prefix="millrace-test-redis-"))
    running = LocalRedis(home, {"save": "", **(options or {})})
    with _watched(home):
        try:
            running.start()
            yield running
        finally:
            _remove(home)


@contextmanager
def _watched(home: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "millrace.testing.redis", str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        try:
            yield
        finally:
            watcher.kill()  # All is removed already.


def _remove(home: Path) -> None:
    LocalRedis(home).kill()
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    _remove(Path(sys.argv[1]))
