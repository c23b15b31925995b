"""The compose stack keeps its promises on paper: pinned images, nobody's rights, health checks, no secret in clear."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "compose" / "compose.yaml"

PROFILES: Final = {"observability", "ui", "registry", "flink", "spark", "demo", "haproxy", "services", "tracing"}
CORE: Final = {"kafka-1", "kafka-2", "kafka-3", "redis", "launcher-1", "launcher-2"}
ENGINES: Final = {"flink", "spark"}
ENDS_BY_ITSELF: Final = {"demo"}
SECRET: Final = re.compile(r"(PASSWORD|TOKEN|SECRET|KEY)$")

Service = dict[str, Any]


def stack() -> dict[str, Any]:
    """The compose file, with merged keys in their places."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def services() -> dict[str, Service]:
    """The stack's services by name."""
    found: dict[str, Service] = stack()["services"]
    return found


def sources(service: Service) -> list[str]:
    """What it mounts: names of volumes, and paths."""
    return [str(each).split(":", 1)[0] for each in service.get("volumes", [])]


def faults(name: str, service: Service) -> list[str]:
    """What is wrong with a service."""
    health = service.get("healthcheck", {})
    environment = service.get("environment", {})
    rules = {
        "its image has no version": re.search(r":v?\d+[\w.-]*$", service["image"]) is not None,
        "its file system can be written": service.get("read_only") is True,
        "it runs as root": re.fullmatch(r"[1-9]\d*:\d+", service.get("user", "")) is not None,
        "it keeps capabilities": service.get("cap_drop") == ["ALL"],
        "it may gain rights": service.get("security_opt") == ["no-new-privileges:true"],
        "it has no health check": bool(health.get("test")) is (name not in ENDS_BY_ITSELF),
        "others can reach its ports": all(port.startswith("127.0.0.1:") for port in service.get("ports", [])),
        "a secret is in clear": all(
            str(value).startswith("${") for key, value in environment.items() if SECRET.search(key)
        ),
    }
    return [f"{name}: {what}" for what, holds in rules.items() if not holds]


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_is_pinned_healthy_and_has_no_rights(name: str) -> None:
    assert faults(name, services()[name]) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image": "redis:latest"}, "its image has no version"),
        ({"image": "redis"}, "its image has no version"),
        ({"user": "0:0"}, "it runs as root"),
        ({"read_only": False}, "its file system can be written"),
        ({"healthcheck": {"disable": True}}, "it has no health check"),
        ({"ports": ["6379:6379"]}, "others can reach its ports"),
        ({"environment": {"A_PASSWORD": "hunter2"}}, "a secret is in clear"),
    ],
)
def test_the_check_sees_a_fault(change: Service, fault: str) -> None:
    assert faults("redis", {**services()["redis"], **change}) == [f"redis: {fault}"]


def test_the_stack_has_its_core_and_its_profiles() -> None:
    assert {name for name, service in services().items() if "profiles" not in service} == CORE
    assert {profile for service in services().values() for profile in service.get("profiles", [])} == PROFILES


def test_what_is_depended_on_and_mounted_exists() -> None:
    loaded = stack()
    named = {each for service in services().values() for each in service.get("depends_on", {})}
    assert named <= services().keys()
    mounted = {each for service in services().values() for each in sources(service)}
    volumes = {each for each in mounted if not each.startswith(".")}
    assert volumes == loaded["volumes"].keys()
    assert [each for each in sorted(mounted - volumes) if not (FILE.parent / each).exists()] == []


def test_what_prometheus_is_configured_with_is_mounted() -> None:
    text = (FILE.parent / "observability" / "prometheus" / "prometheus.yml").read_text()
    asked = set(re.findall(r"/run/secrets/([\w.-]+)", text))
    assert asked == set(services()["prometheus"]["secrets"]) == stack()["secrets"].keys()
    hosts = set(re.findall(r"http://([\w-]+):9008", text))
    assert hosts == {name for name in services() if name.startswith("launcher-")}


def test_images_of_this_project_are_built_from_their_dockerfiles() -> None:
    built = {service["image"]: service["build"]["dockerfile"] for service in services().values() if "build" in service}
    assert built.keys() == {each["image"] for each in services().values() if each["image"].startswith("millrace/")}
    for image, dockerfile in built.items():
        name = image.removeprefix("millrace/").split(":")[0]
        assert dockerfile == f"{'topologies' if name in ENGINES else 'services'}/{name}/Dockerfile"


def test_three_brokers_lose_nothing_with_one_of_them() -> None:
    brokers = [service for name, service in services().items() if re.fullmatch(r"kafka-\d", name)]
    assert {each["environment"]["KAFKA_NODE_ID"] for each in brokers} == {1, 2, 3}
    assert all("./kafka:/mnt/shared/config:ro" in each["volumes"] for each in brokers)
    lines = (FILE.parent / "kafka" / "server.properties").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    assert len(settings["controller.quorum.voters"].split(",")) == len(brokers) == 3
    for topics in ("default.", "offsets.topic.", "transaction.state.log."):
        assert settings[f"{topics}replication.factor"] == "3"
    assert settings["min.insync.replicas"] == settings["transaction.state.log.min.isr"] == "2"
