"""What changes when a process runs in a container."""

import pytest

from millrace.core.control.fleet import Slot
from millrace.core.errors import RequestError
from millrace_launcher.adapters.engine import read_frames
from millrace_launcher.logic.containers import explained, read_container
from millrace_launcher.logic.enclosed import command_inside, environment_inside, exit_code_of, image_of
from millrace_launcher.logic.ports import Launch

SLOT = Slot("rain", "scorer", 1)
INSPECTED = {
    "Created": "2026-11-23T10:00:00.123456789Z",
    "State": {
        "Status": "running",
        "Pid": 77,
        "ExitCode": 0,
        "OOMKilled": False,
        "Error": "",
        "StartedAt": "2026-11-23T10:00:01.5Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Config": {"Labels": {"millrace.slot": "rain/scorer/1", "millrace.launch": "9"}},
    "HostConfig": {"Memory": 64 << 20},
    "NetworkSettings": {"Networks": {"lan": {"IPAddress": "172.20.0.7"}}},
}


def launch(**environment: str) -> Launch:
    return Launch(SLOT, 1, ("/opt/python", "-m", "x"), environment, 1, 1 << 30)


def test_what_the_daemon_has_of_its_machine_stays_there() -> None:
    given = launch(PATH="/bin", MILLRACE_KAFKA__BOOTSTRAP="k", OWN="new", CUDA_VISIBLE_DEVICES="")
    own = {"PATH": "/bin", "MILLRACE_KAFKA__BOOTSTRAP": "k", "OWN": "old"}
    assert environment_inside(given, own, "10.0.0.1") == {
        "MILLRACE_KAFKA__BOOTSTRAP": "k",
        "OWN": "new",
        "CUDA_VISIBLE_DEVICES": "",
        "MILLRACE_HOME": "/var/lib/millrace",
        "MILLRACE_HEALTH__HOST": "10.0.0.1",
    }


def test_gpus_are_refused() -> None:
    with pytest.raises(RequestError, match="rain/scorer/1 asks for GPUs"):
        environment_inside(launch(CUDA_VISIBLE_DEVICES="0"), {}, "")


def test_the_daemons_python_is_the_images() -> None:
    assert command_inside(("/opt/python", "-m", "/opt/python"), python="/opt/python") == ("python", "-m", "/opt/python")
    assert command_inside(("kcat", "-L"), python="/opt/python") == ("kcat", "-L")


@pytest.mark.parametrize(
    ("kind", "image"),
    [("scorer", "mine"), ("table", "millrace/materializer:0.1.0"), ("python", "millrace/launcher:0.1.0")],
)
def test_each_kind_has_an_image(kind: str, image: str) -> None:
    assert image_of(kind, {"scorer": "mine"}) == image


@pytest.mark.parametrize(("said", "code"), [(0, 0), (1, 1), (128, 128), (137, -9), (143, -15), (255, 255)])
def test_a_code_above_128_is_a_signal(said: int, code: int) -> None:
    assert exit_code_of(said) == code


def test_a_log_comes_in_frames_that_do_not_end_with_lines() -> None:
    frames = b"".join(bytes([1, 0, 0, 0]) + len(said).to_bytes(4, "big") + said for said in (b"a\nb", b"c\n", b"d"))
    assert read_frames(frames) == ["a", "bc", "d"]


def test_a_container_that_runs() -> None:
    found = read_container(INSPECTED, "9100", is_asked=False)
    assert (found.slot, found.launch, found.pid, found.url) == (SLOT, 9, 77, "http://172.20.0.7:9100")
    assert (found.has_ended, found.waits, found.started_ms) == (False, "", 1795428001500)


@pytest.mark.parametrize(
    ("state", "noted", "why", "is_draining"),
    [
        ({"ExitCode": 1}, "", "exit code 1: no such model", False),
        ({"ExitCode": 137}, "", "killed by signal 9 (SIGKILL)", False),
        ({"ExitCode": 137, "OOMKilled": True}, "", "out of memory: more than 64 MiB", False),
        ({"ExitCode": 137, "OOMKilled": True}, "hung", "hung", False),
        ({"ExitCode": 121}, "", "the node lost its lease", True),
        ({"ExitCode": 128, "Error": "no cgroup"}, "", "no cgroup", False),
    ],
    ids=["error", "signal", "memory", "noted", "lease", "engine"],
)
def test_an_end_has_a_reason(state: dict[str, object], noted: str, why: str, *, is_draining: bool) -> None:
    over = {"Status": "exited", "FinishedAt": "2026-11-23T10:00:02Z"}
    inspected = {**INSPECTED, "State": {**INSPECTED["State"], **over, **state}}  # type: ignore[dict-item]
    ended = explained(read_container(inspected, "", is_asked=False), inspected, ["no such model"], noted=noted)
    assert (ended.has_ended, ended.why, ended.is_draining, ended.url) == (True, why, is_draining, "")
