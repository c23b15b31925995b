"""Credentials by name: who types a command names them, and their values stay in the environment or in a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from millrace.core.errors import RequestError

_PREFIX: Final = "MILLRACE_CREDENTIALS__"


def find_credentials(name: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """The driver's options that credentials are. Their values are never repeated, by no error either.

    Args:
        name: `lake` for `MILLRACE_CREDENTIALS__LAKE`, a JSON object, or the file that
            `MILLRACE_CREDENTIALS__LAKE_FILE` names; None for none.
        environ: The environment.

    Raises:
        RequestError: There are none of this name, or they are no JSON object.
    """
    if name is None:
        return {}
    variable = _PREFIX + name.upper().replace("-", "_")
    place, text = _read(name, variable, environ)
    try:
        found = json.loads(text)
    except ValueError:
        raise RequestError(f"{place} is not JSON", remedy="write the driver's options as a JSON object") from None
    if not isinstance(found, dict):
        raise RequestError(f"{place} is no JSON object", remedy="write the driver's options as a JSON object")
    return found


def _read(name: str, variable: str, environ: Mapping[str, str]) -> tuple[str, str]:
    if variable in environ:
        return variable, environ[variable]
    try:
        path = Path(environ[f"{variable}_FILE"])
    except KeyError:
        raise RequestError(
            f"there are no credentials {name!r}",
            remedy=f"set {variable} to a JSON object, or {variable}_FILE to its file",
        ) from None
    try:
        return str(path), path.read_text()
    except OSError as error:
        raise RequestError(
            f"{path} of {variable}_FILE cannot be read: {error.strerror}", remedy="check the path and the permissions"
        ) from None
