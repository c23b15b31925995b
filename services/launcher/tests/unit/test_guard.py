"""The guard of a container, here on processes of this machine."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile

import pytest

from millrace.testing.waiting import eventually
from millrace_launcher.adapters import guard
from millrace_launcher.logic import enclosed

DRAINING = (
    "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); print('up', flush=True)\n"
    "signal.sigwait([15]); print('drained', flush=True); sys.exit(3)"
)
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"


@contextmanager
def guarded(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """A program under guard that has said `up`."""
    lease = folder / "lease"
    lease.write_text(str(time.clock_gettime(time.CLOCK_BOOTTIME) + 1e6))
    launch = {"environment": {"SAID": "hello"}, "folder": "", "grace_secs": 0.5, "lease": {"file": str(lease)}}
    (folder / "launch.json").write_text(json.dumps(launch))
    copyfile(guard.__file__, folder / "guard.py")
    command = [sys.executable, "-I", "-S", str(folder / "guard.py"), sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "up\n"
            yield started
        finally:
            (folder / "stop").touch()
            started.wait(timeout=200)


def test_a_signal_is_handed_on_and_the_exit_code_comes_back(tmp_path: Path) -> None:
    with guarded(tmp_path, DRAINING) as started:
        started.terminate()
        assert started.wait(timeout=200) == 3


def test_a_file_stops_it_as_a_signal_does(tmp_path: Path) -> None:
    with guarded(tmp_path, DRAINING) as started:
        (tmp_path / "stop").touch()
        assert started.wait(timeout=200) == 3


def test_what_does_not_end_is_killed_and_says_so_as_a_shell_does(tmp_path: Path) -> None:
    with guarded(tmp_path, STUBBORN) as started:
        started.terminate()
        assert started.wait(timeout=200) == guard.SIGNALLED + 9
        assert enclosed.exit_code_of(started.returncode) == -9


@pytest.mark.parametrize("lease", ["0", "nonsense", None], ids=["over", "unreadable", "gone"])
def test_a_program_ends_with_the_lease(tmp_path: Path, lease: str | None) -> None:
    with guarded(tmp_path, STUBBORN) as started:
        if lease is None:
            (tmp_path / "lease").unlink()
        else:
            (tmp_path / "lease").write_text(lease)
        assert started.wait(timeout=200) == guard.LEASE_IS_OVER == enclosed.LEASE_IS_OVER


def test_an_orphan_ends_with_the_program(tmp_path: Path) -> None:
    orphan = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {DRAINING!r}]).pid, flush=True)"
    with guarded(tmp_path, f"print('up', flush=True)\n{orphan}") as started:
        assert started.stdout is not None
        pid = int(next(line for line in started.stdout if line.strip().isdecimal()))
        assert started.wait(timeout=200) == 0

    def is_over() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    eventually(is_over, what="the end of the orphan")
