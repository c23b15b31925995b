"""The deployment document that somebody means: a file, or a model and its topics."""

from pathlib import Path
from typing import Any, Final

from millrace.core.errors import RequestError
from millrace.process.deployment import Deployment
from millrace.process.document import parse_document

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


def deployment_document(
    what: str, *, source: str | None = None, target: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """The document as JSON values; paths in it are absolute.

    Args:
        what: A file, or else a model's reference.
        source: For a model: the topic of features.
        target: For a model: the topic of predictions.
        name: For a model: the deployment's name; the model's where absent.

    Raises:
        RequestError: The file cannot be read or is no valid deployment, or a model comes without a topic.
    """
    path = Path(what)
    is_file = path.suffix in _SUFFIXES
    if is_file and (source or target or name):
        raise RequestError(f"{what} says itself what --from, --to and --name say", remedy="leave them out")
    if is_file:
        return Deployment.load(path.resolve()).document()
    if source is None:
        raise RequestError(
            f"which topic shall {what!r} read?", remedy="say it: --from TOPIC; or name a file that ends in .yaml"
        )
    document: dict[str, Any] = {
        "deployment": name or what.partition("@")[0].partition("/")[0],
        "source": {"topic": source},
        "model": what,
    }
    if target is not None:
        document["sink"] = {"predictions": target}
    return Deployment.parse(document, subject="the command line").document()


def written_document(text: str) -> dict[str, Any]:
    """The document that somebody wrote as YAML or JSON, as JSON values.

    Raises:
        RequestError: It is no valid deployment; names the line or the place.
    """
    return Deployment.parse(parse_document(text, subject="the document"), subject="the document").document()
