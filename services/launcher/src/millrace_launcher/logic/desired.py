"""From the documents of `millrace.deployments` and `millrace.jobs` to what shall run."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from millrace.core.control.fleet import Resources, Workload
from millrace.core.control.jobs import Job
from millrace.core.errors import RequestError
from millrace.process.deployment import Deployment
from millrace.process.jobs import JOBS
from millrace_launcher.logic.kinds import Kind


@dataclass(frozen=True, slots=True)
class Desired:
    """What the documents ask for.

    Attributes:
        deployments: By name.
        workloads: What shall run.
        faults: Why a document cannot be read, by the deployment's name.
        jobs: What was launched, by name.
    """

    deployments: Mapping[str, Deployment]
    workloads: tuple[Workload, ...]
    faults: Mapping[str, str]
    jobs: Mapping[str, Job] = field(default_factory=dict)


def read_desired(
    documents: Mapping[str, Mapping[str, Any]],
    kinds: Iterable[Kind],
    launched: Mapping[str, Mapping[str, Any]] | None = None,
) -> Desired:
    """What all documents together ask for. One that cannot be read is a fault and hurts no other.

    Args:
        documents: Of the deployments.
        kinds: The kinds of process that are known.
        launched: Of the jobs.
    """
    deployments: dict[str, Deployment] = {}
    faults: dict[str, str] = {}
    for name, document in documents.items():
        try:
            deployments[name] = Deployment.parse(document, subject=f"deployment {name}")
        except RequestError as error:
            faults[name] = str(error)
    jobs: dict[str, Job] = {}
    for name, document in (launched or {}).items():
        try:
            jobs[name] = JOBS.read(document, subject=f"job {name}")
        except RequestError as error:
            faults[name] = str(error)
    known = {kind.name: kind for kind in kinds}
    workloads = [found for each in deployments.values() for found in workloads_of(each, known.values())]
    workloads.extend(workload_of(job, known[job.kind]) for job in jobs.values() if job.kind in known)
    return Desired(deployments, tuple(workloads), faults, jobs)


def workload_of(job: Job, kind: Kind) -> Workload:
    """What a job asks for: one process."""
    read = [job.arguments, job.environment, job.folder, dict(job.variables), asdict(job.needs), job.submitted_ms]
    return Workload(
        deployment=job.name,
        kind=job.kind,
        count=1,
        needs=job.needs,
        digest=_fingerprint(read),
        libraries=dict(job.libraries),
        ends=kind.ends,
    )


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
            runner=deployment.scale.runner,
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
    # A runner that is named anew moves what runs; without one the fingerprint is that of earlier versions.
    return _fingerprint([*read, *filter(None, [deployment.scale.runner])])


def _fingerprint(read: Sequence[object]) -> str:
    return hashlib.sha256(orjson.dumps(read, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _needs(deployment: Deployment, kind: Kind) -> Resources:
    scale = deployment.scale
    return Resources(scale.cores, scale.memory_mb << 20, scale.gpus if kind.has_gpus else 0)
