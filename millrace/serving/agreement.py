"""Whether a deployment and a model agree about the transform: one answer for plans, scorers and gateways."""

from millrace.core.errors import RequestError
from millrace.process.deployment import Deployment
from millrace.serving.catalogue import Table, VersionEntry
from millrace.serving.transforms import TransformEntry, resolve_transform, transform_versions


def check_transform(table: Table, deployment: Deployment, entry: VersionEntry) -> None:
    """Check that a version was trained with the transform that a deployment counts on.

    Args:
        table: The registry's.
        deployment: What is declared.
        entry: The version that is to score.

    Raises:
        RequestError: It was not, or there is no such transform, or it is one that no scorer can evaluate.
    """
    wanted = deployment.transform
    if wanted is None:
        return
    declared = resolve_transform(table, wanted)
    _check_rows(deployment, declared)
    accepted = [declared] if "/" in wanted else transform_versions(table, wanted)
    if entry.transform in {each.fingerprint for each in accepted}:
        return
    raise RequestError(
        f"deployment {deployment.deployment} counts on the transform {declared.reference} ({declared.fingerprint}), "
        f"and {entry.key} was trained with {_described(table, entry)}",
        remedy=f"deploy a version that was trained with {wanted}, or declare the version's own transform",
    )


def _check_rows(deployment: Deployment, declared: TransformEntry) -> None:
    transform = declared.open().transform
    for number, step in enumerate(transform.steps, start=1):
        if step.is_stateful:
            raise RequestError(
                f"deployment {deployment.deployment}: step {number} ({step.step}) of the transform "
                f"{declared.reference} looks at other rows, which a scorer cannot",
                remedy="let a topology write what it makes to a topic, and deploy the model on that topic without it",
            )


def _described(table: Table, entry: VersionEntry) -> str:
    if entry.transform is None:
        return "none"
    names = [each.reference for each in transform_versions(table) if each.fingerprint == entry.transform]
    return f"{names[0]} ({entry.transform})" if names else entry.transform
