"""The manifests are what Kubernetes and KEDA understand, fit each other, and give pods no rights."""

import ast
import json
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml

from millrace.client.keda import scaled_object
from millrace.process.deployment import Deployment
from millrace_trainer.settings import Training

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy" / "kubernetes"
APART: Final = ("batch.yaml",)
"""What is applied by itself, when it is wanted."""
VERSIONS: Final = ("1.28", "1.37")
"""Of Kubernetes: the oldest that `deploy/kubernetes/README.md` promises, and the newest whose schemas are known."""
SCALED_OBJECT: Final = json.loads((ROOT / "tests" / "unit" / "client" / "scaled-object.schema.json").read_text())

Manifest = dict[str, Any]


def kustomization() -> Manifest:
    """What `kubectl apply -k` takes together."""
    loaded: Manifest = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return loaded


def manifests() -> list[Manifest]:
    """All objects but those of the folder that are made from files."""
    names = [*kustomization()["resources"], *APART]
    return [each for name in names for each in yaml.safe_load_all((FOLDER / name).read_text())]


def workloads() -> dict[str, Manifest]:
    """What runs pods, by name."""
    kinds = {"Deployment", "StatefulSet", "Job"}
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] in kinds}


def services() -> dict[str, Manifest]:
    """What runs pods that go on, by name."""
    return {name: each for name, each in workloads().items() if each["kind"] != "Job"}


def named(kind: str) -> dict[str, Manifest]:
    """The objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] == kind}


def pod_faults(workload: Manifest) -> list[str]:
    """What is wrong with the pods of a workload."""
    template = workload["spec"]["template"]
    pod = template["spec"]
    [container] = pod["containers"]
    is_job = workload["kind"] == "Job"
    ports = {each["name"] for each in container.get("ports", ())}
    own, around = container["securityContext"], pod["securityContext"]
    given = named("ConfigMap").keys() | {each["name"] for each in kustomization()["configMapGenerator"]}
    wanted = [each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each]
    wanted += [each["configMapRef"]["name"] for each in container["envFrom"]]
    claims = {each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each}
    rules = {
        # Of a job Kubernetes makes it.
        "does not select its own pods": is_job
        or workload["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"],
        "runs as root": around["runAsNonRoot"] is True and around["runAsUser"] == 10001,
        "may gain rights": own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]},
        "can write its file system": own["readOnlyRootFilesystem"] is True,
        "has a token of the cluster": pod["automountServiceAccountToken"] is False,
        "asks a port that it has not": all(
            container[probe]["httpGet"]["port"] in ports
            for probe in (() if is_job else ("startupProbe", "readinessProbe", "livenessProbe"))
        ),
        "mounts what it has not": {each["name"] for each in container["volumeMounts"]}
        == {each["name"] for each in pod["volumes"]},
        "reads what nobody gives": set(wanted) <= given and claims <= named("PersistentVolumeClaim").keys(),
        "has no bound of memory": "memory" in container["resources"]["limits"],
        "is no image of this project": (ROOT / "services" / container["name"] / "Dockerfile").exists()
        and container["image"] == f"millrace/{container['name']}:0.1.0",
    }
    return [what for what, holds in rules.items() if not holds]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", manifests(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_a_manifest_is_what_kubernetes_understands(manifest: Manifest, version: str) -> None:
    if manifest["kind"] == "ScaledObject":
        jsonschema.validate(manifest, SCALED_OBJECT)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", sorted(workloads()))
def test_pods_fit_what_is_around_them_and_have_no_rights(name: str) -> None:
    assert pod_faults(workloads()[name]) == []


def test_the_checks_see_a_fault() -> None:
    broken = deepcopy(workloads()["millrace-rain-scorer"])
    pod = broken["spec"]["template"]["spec"]
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    pod["volumes"].pop()
    assert pod_faults(broken) == ["can write its file system", "mounts what it has not"]
    pod["containers"][0]["securtyContext"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="securtyContext"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_every_file_of_the_folder_is_taken() -> None:
    told = kustomization()
    taken = {*told["resources"], *(file for each in told["configMapGenerator"] for file in each["files"])}
    instead = {"launcher.yaml"}  # Of a launcher that makes Pods itself.
    found = {path.name for path in FOLDER.glob("*.*") if path.suffix in {".yaml", ".py"}}
    assert taken | instead | {"kustomization.yaml", *APART} == found


def test_there_is_a_workload_of_every_service() -> None:
    found = {each["spec"]["template"]["spec"]["containers"][0]["name"] for each in workloads().values()}
    assert found | {"launcher"} == {path.parent.name for path in (ROOT / "services").glob("*/Dockerfile")}


def test_the_trainer_trains_the_deployment_s_model_by_the_function_beside_it() -> None:
    deployment = Deployment.load(FOLDER / "rain.yaml")
    training = Training.load(FOLDER / "training.yaml")
    assert training.model == deployment.model.partition("@")[0]
    assert (training.source.topic, training.labels) == (deployment.source.topic, deployment.labels_topic)
    module, _, function = training.function.name.partition(":")
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    assert function in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
    [given] = [each["files"] for each in kustomization()["configMapGenerator"] if each["name"] == "rain-training"]
    assert given == ["training.yaml", f"{module}.py"]
    [container] = workloads()["millrace-rain-trainer"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert training.function.memory_bytes < 4 * 2**30


def test_the_materializer_keeps_the_deployment_s_predictions() -> None:
    [container] = workloads()["millrace-rain-materializer"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["--topic", Deployment.load(FOLDER / "rain.yaml").predictions_topic]


def test_keda_is_told_what_the_deployment_says() -> None:
    bootstrap = named("ConfigMap")["millrace-settings"]["data"]["MILLRACE_KAFKA__BOOTSTRAP"]
    document = yaml.safe_load((FOLDER / "rain.yaml").read_text())
    [scaled] = named("ScaledObject").values()
    assert scaled == scaled_object(document, bootstrap=bootstrap)
    target = workloads()[scaled["spec"]["scaleTargetRef"]["name"]]
    assert target["kind"] == scaled["spec"]["scaleTargetRef"]["kind"]
    assert "replicas" not in target["spec"], "each `kubectl apply` would undo what KEDA decided"


def test_each_scorer_has_the_slot_of_its_number() -> None:
    [container] = workloads()["millrace-rain-scorer"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--slot", "$(SLOT)"]
    [slot] = container["env"]
    assert slot["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"


def test_services_lead_to_pods_that_have_their_ports() -> None:
    for service in named("Service").values():
        [target] = [
            each
            for each in services().values()
            if each["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
        ]
        [container] = target["spec"]["template"]["spec"]["containers"]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert all(ports[each["targetPort"]] == each["port"] for each in service["spec"]["ports"])
        assert target["spec"].get("serviceName", service["metadata"]["name"]) == service["metadata"]["name"]


def test_a_launcher_has_the_rights_that_its_runner_uses_and_its_pods_next_to_none() -> None:
    made = list(yaml.safe_load_all((FOLDER / "launcher.yaml").read_text()))
    rights = {
        each["metadata"]["name"]: {
            (resource, verb) for rule in each["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        }
        for each in made
        if each["kind"] == "Role"
    }
    assert rights == {
        "millrace-launcher": {
            *(("pods", verb) for verb in ("create", "delete", "list", "patch")),
            ("pods/log", "get"),
            *(("secrets", verb) for verb in ("create", "delete")),
            *(("leases", verb) for verb in ("create", "patch")),
        },
        "millrace-process": {("leases", "get")},
    }
    assert not {"ClusterRole", "ClusterRoleBinding"} & {each["kind"] for each in made}
    [pod] = [each["spec"]["template"]["spec"] for each in made if each["kind"] == "StatefulSet"]
    assert pod["serviceAccountName"] == "millrace-launcher"
    assert pod["securityContext"]["runAsNonRoot"] is True
    wanted = [each["configMapRef"]["name"] for each in pod["containers"][0]["envFrom"]]
    assert set(wanted) <= named("ConfigMap").keys()
