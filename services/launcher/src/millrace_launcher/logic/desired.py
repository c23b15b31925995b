"""From the documents of `millrace.deployments` to what shall run."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from millrace.core.control.fleet import Resources, Workload
from millrace.core.errors import RequestError
from millrace.process.deployment import Deployment
from millrace_launcher.logic.kinds import Kind


@dataclass(frozen=True, slots=True)
class Desired:
    """What the documents ask for.

    Attributes:
        deployments: By name.
        workloads: What shall run.
        faults: Why a document cannot be read, by the deployment's name.
    """

    deployments: Mapping[str, Deployment]
    workloads: tuple[Workload, ...]
    faults: Mapping[str, str]


def read_desired(documents: Mapping[str, Mapping[str, Any]], kinds: Iterable[Kind]) -> Desired:
    """What all documents together ask for. One that cannot be read is a fault and hurts no other."""
    deployments: dict[str, Deployment] = {}
    faults: dict[str, str] = {}
    for name, document in documents.items():
        try:
            deployments[name] = Deployment.parse(document, subject=f"deployment {name}")
        except RequestError as error:
            faults[name] = str(error)
    known = tuple(kinds)
    workloads = tuple(found for deployment in deployments.values() for found in workloads_of(deployment, known))
    return Desired(deployments, workloads, faults)


def workloads_of(deployment: Deployment, kinds: Iterable[Kind]) -> tuple[Workload, ...]:
    """What one deployment asks for, one workload for each kind of which it wants any."""
    return tuple(
        Workload(
            deployment=deployment.deployment,
            kind=kind.name,
            count=kind.count(deployment),
            needs=_needs(deployment, kind),
            digest=digest_of(deployment, kind),
            libraries=dict(deployment.scale.libraries),
        )
        for kind in kinds
        if kind.count(deployment)
    )


def digest_of(deployment: Deployment, kind: Kind) -> str:
    """Fingerprint of everything that a process of the kind reads when it starts, or is given.

    How many there are is none of their business: scaling restarts nobody.
    """
    document = deployment.document()
    document.pop("scale", None)
    needs = _needs(deployment, kind)
    read = [document, kind.arguments(deployment, 0), needs.cores, needs.memory_bytes, needs.gpus]
    return hashlib.sha256(orjson.dumps(read, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _needs(deployment: Deployment, kind: Kind) -> Resources:
    scale = deployment.scale
    return Resources(scale.cores, scale.memory_mb << 20, scale.gpus if kind.has_gpus else 0)
