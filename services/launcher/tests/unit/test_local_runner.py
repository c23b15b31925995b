"""The contract of runners, on processes of this machine."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from millrace.core.control.fleet import Slot
from millrace.core.errors import RequestError
from millrace.testing.waiting import eventually
from millrace_launcher.adapters.local import LocalRunner, free_port
from millrace_launcher.adapters.place import NodeFolder
from millrace_launcher.logic.ports import Launch, Running

SLOT = Slot("rain", "scorer", 1)
PATIENCE = timedelta(seconds=60)
WAITING = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
DRAINING = (
    # It handles no signal: one that came just before a pause would be missed.
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); print('up', flush=True)\n"
    "signal.sigwait([15]); print('drained', flush=True)"
)


@pytest.fixture
def folder(tmp_path: Path) -> NodeFolder:
    made = NodeFolder(tmp_path, "a")
    made.path.mkdir(parents=True)
    made.renew(1e9, timedelta(days=1))
    return made


@pytest.fixture
def runner(folder: NodeFolder) -> Iterator[LocalRunner]:
    """A runner whose processes end with the test."""
    made = LocalRunner(folder.processes, folder.lease, log_bytes=10_000, grace_secs=0.5)
    yield made
    for running in made.processes():
        made.kill(running.slot)
    eventually(lambda: all(found.has_ended for found in made.processes()), what="the end of all processes")


def launch(code: str, *, number: int = 1, memory_bytes: int = 1 << 30) -> Launch:
    environment = {"PATH": os.environ["PATH"], "MILLRACE_HEALTH__PORT": "7", "SAID": "hello"}
    return Launch(SLOT, number, (sys.executable, "-u", "-c", code), environment, 0.5, memory_bytes)


def only(runner: LocalRunner) -> Running:
    [found] = runner.processes()
    return found


def await_line(runner: LocalRunner, line: str) -> None:
    eventually(lambda: line in runner.log(SLOT, lines=100), within=PATIENCE, what=f"the line {line!r}")


def await_end(runner: LocalRunner) -> Running:
    eventually(lambda: only(runner).has_ended, within=PATIENCE, what="the end of the process")
    return only(runner)


def test_a_process_runs_and_is_found(runner: LocalRunner) -> None:
    assert runner.processes() == []
    runner.start(launch(WAITING))
    await_line(runner, "up")
    found = only(runner)
    assert (found.slot, found.launch, found.url) == (SLOT, 1, "http://127.0.0.1:7")
    assert found.pid is not None
    assert psutil.Process(found.pid).cmdline()[-1] == WAITING
    assert (found.has_ended, found.is_draining) == (False, False)


def test_a_slot_has_one_process(runner: LocalRunner) -> None:
    runner.start(launch(WAITING))
    with pytest.raises(RequestError, match="rain/scorer/1 runs already"):
        runner.start(launch(WAITING, number=2))


def test_draining_lets_a_process_end_by_itself(runner: LocalRunner) -> None:
    runner.start(launch(DRAINING))
    await_line(runner, "up")
    runner.drain(SLOT)
    ended = await_end(runner)
    assert (ended.exit_code, ended.is_draining) == (0, True)
    assert list(runner.log(SLOT, lines=10)) == ["up", "drained"]


def test_draining_ends_in_a_kill(runner: LocalRunner) -> None:
    runner.start(launch(STUBBORN))
    await_line(runner, "up")
    runner.drain(SLOT)
    ended = await_end(runner)
    assert (ended.exit_code, ended.why) == (-signal.SIGKILL, "killed by signal 9 (SIGKILL)")


def test_a_frozen_process_is_drained_too(runner: LocalRunner) -> None:
    runner.start(launch(DRAINING))
    await_line(runner, "up")
    os.kill(only(runner).pid or 0, signal.SIGSTOP)
    runner.drain(SLOT)
    assert await_end(runner).has_ended


def test_the_end_of_a_process_is_seen_with_its_reason(runner: LocalRunner) -> None:
    runner.start(launch("import sys; sys.exit('no such model')"))
    ended = await_end(runner)
    assert (ended.exit_code, ended.is_draining, ended.why) == (1, False, "exit code 1: no such model")
    assert ended.ended_ms is not None
    assert only(runner) == ended, "what is over does not change"


def test_several_threads_may_hear_of_an_end_at_once(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = os.waitpid

    def ask_late(pid: int, options: int) -> tuple[int, int]:
        """As if this thread stood still before it asked, and another one was told first."""
        monkeypatch.setattr(os, "waitpid", ask)
        eventually(lambda: runner.processes() and not psutil.pid_exists(pid), within=PATIENCE, what="the other's turn")
        return ask(pid, options)

    runner.start(launch("pass"))
    monkeypatch.setattr(os, "waitpid", ask_late)
    assert await_end(runner).exit_code == 0


def test_a_program_that_is_not_there_is_a_reason(runner: LocalRunner) -> None:
    runner.start(Launch(SLOT, 1, ("no-such-program",), {}, 1, 1 << 30))
    assert "cannot be started: No such file or directory: no-such-program" in await_end(runner).why


def test_another_runner_adopts_what_runs(runner: LocalRunner, folder: NodeFolder) -> None:
    runner.start(launch(DRAINING))
    await_line(runner, "up")
    successor = LocalRunner(folder.processes, folder.lease)
    assert only(successor) == only(runner)
    successor.drain(SLOT)
    assert await_end(successor).exit_code == 0, "the end is seen by whoever adopted it"


def test_a_process_ends_with_its_lease(runner: LocalRunner, folder: NodeFolder) -> None:
    runner.start(launch(STUBBORN))
    await_line(runner, "up")
    folder.renew(0, timedelta(0))
    ended = await_end(runner)
    assert (ended.why, ended.is_draining) == ("the node lost its lease", True)


def test_a_process_ends_with_its_keeper(runner: LocalRunner) -> None:
    runner.start(launch(WAITING))
    await_line(runner, "up")
    child = psutil.Process(only(runner).pid or 0)
    keeper = child.parent()
    assert keeper is not None
    keeper.kill()
    ended = await_end(runner)
    assert (ended.exit_code, "it vanished" in ended.why) == (None, True)
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the child's end")


def test_what_a_process_started_ends_with_it(runner: LocalRunner) -> None:
    runner.start(launch(f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {WAITING!r}]).pid)"))
    await_end(runner)
    number = next(int(line) for line in runner.log(SLOT, lines=9) if line.isdecimal())
    eventually(lambda: not psutil.pid_exists(number), what="the grandchild's end")


def test_too_much_memory_is_the_reason(runner: LocalRunner) -> None:
    runner.start(launch("x = bytearray(200 << 20)\nimport signal; signal.pause()", memory_bytes=100 << 20))
    ended = await_end(runner)
    assert "out of memory: used 2" in ended.why
    assert "of 100 MiB" in ended.why


def test_a_process_gets_its_environment_and_no_other(runner: LocalRunner) -> None:
    runner.start(launch("import os, json; print(json.dumps(dict(os.environ)))"))
    await_end(runner)
    [line] = runner.log(SLOT, lines=1)
    assert {"SAID": "hello", "MILLRACE_HEALTH__PORT": "7"}.items() <= json.loads(line).items()
    assert "HOME" not in json.loads(line)


def test_logs_are_bounded_and_outlive_the_process(runner: LocalRunner, folder: NodeFolder) -> None:
    runner.start(launch("import os; os.write(1, b''.join(b'%d\\n' % n for n in range(5000)))"))  # heard all at once
    await_end(runner)
    assert list(runner.log(SLOT, lines=3)) == ["4997", "4998", "4999"]
    assert sum(path.stat().st_size for path in folder.processes.rglob("output.log*")) <= 20_000


def test_the_next_launch_of_a_slot_is_another_process(runner: LocalRunner) -> None:
    runner.start(launch("print('first')"))
    await_end(runner)
    runner.forget(SLOT)
    assert runner.processes() == []
    runner.start(launch("print('second')", number=2))
    eventually(lambda: runner.processes() and only(runner).has_ended, what="the second one's end")
    assert only(runner).launch == 2
    assert list(runner.log(SLOT, lines=10)) == ["first", "second"]


def test_a_free_port_is_free() -> None:
    assert free_port() != free_port()


def test_only_one_daemon_holds_a_folder(folder: NodeFolder) -> None:
    with folder.held():
        folder.announce("http://x")
        assert json.loads((folder.path / "daemon.json").read_text())["url"] == "http://x"
        with pytest.raises(RequestError, match="node 'a' runs already"), folder.held():
            pass
    assert not (folder.path / "daemon.json").exists()


def test_a_process_goes_before_its_daemon_when_the_machine_is_out_of_memory(runner: LocalRunner) -> None:
    runner.start(launch(WAITING))
    await_line(runner, "up")
    child = psutil.Process(only(runner).pid or 0)
    keeper = child.parent()
    assert keeper is not None

    def score(process: psutil.Process) -> int:
        return int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())

    assert score(child) == 500
    assert score(keeper) == score(psutil.Process()) < 500
