"""The API of a Kubernetes cluster, as far as running processes takes it: Pods, their logs, Secrets and one Lease."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from ssl import create_default_context
from typing import Any, Final

import httpx

from millrace.core.errors import RequestError, TransientError

Document = Mapping[str, Any]
"""An object of the API."""

_PATIENCE_SECS: Final = 5.0
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_GONE: Final = (HTTPStatus.NOT_FOUND,)


class Cluster:
    """A namespace of a cluster, for any thread. Close it.

    Args:
        url: Address of the API.
        account: Folder with `token`, which is read for every request because it changes, and `ca.crt`; both may be
            absent where the address needs neither, such as that of `kubectl proxy`.
        namespace: The namespace.
    """

    def __init__(self, url: str, account: Path, namespace: str) -> None:
        self._url, self._token = url, account / "token"
        authority = account / "ca.crt"
        trust = create_default_context(cafile=str(authority) if authority.exists() else None)
        self._client = httpx.Client(base_url=url, verify=trust, timeout=_PATIENCE_SECS, trust_env=False)
        self._core = f"/api/v1/namespaces/{namespace}"
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    def pods(self, selector: str) -> Sequence[Document]:
        """All Pods with these labels.

        Raises:
            RequestError: The API refuses.
            TransientError: It does not answer.
        """
        found: list[Document] = self._ask("GET", f"{self._core}/pods", params={"labelSelector": selector}).json()[
            "items"
        ]
        return found

    def create_pod(self, document: Document) -> None:
        """Make a Pod.

        Raises:
            RequestError: The API refuses: a quota is used up, or something is not valid.
            TransientError: It does not answer.
        """
        self._ask("POST", f"{self._core}/pods", json=document)

    def patch_pod(self, name: str, patch: Document) -> None:
        """Change a Pod; nothing if it is gone.

        Raises:
            RequestError: The API refuses.
            TransientError: It does not answer.
        """
        self._ask("PATCH", f"{self._core}/pods/{name}", json=patch, headers=_MERGE, accepted=_GONE)

    def delete_pod(self, name: str, *, grace_secs: int) -> None:
        """Delete a Pod, which is killed after the grace; nothing if it is gone.

        Raises:
            RequestError: The API refuses.
            TransientError: It does not answer.
        """
        options = {"gracePeriodSeconds": grace_secs}
        self._ask("DELETE", f"{self._core}/pods/{name}", json=options, accepted=_GONE)

    def log(self, pod: str, *, lines: int) -> list[str]:
        """The last lines that a Pod said, oldest first; none where it has not begun or is gone.

        Raises:
            RequestError: The API refuses.
            TransientError: It does not answer.
        """
        accepted = (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)
        answer = self._ask("GET", f"{self._core}/pods/{pod}/log", params={"tailLines": str(lines)}, accepted=accepted)
        return [] if answer.is_error else answer.text.splitlines()

    def create_secret(self, document: Document) -> None:
        """Make a Secret; one of the name, whose Pod never came to be, is replaced.

        Raises:
            RequestError: The API refuses.
            TransientError: It does not answer.
        """
        answer = self._ask("POST", f"{self._core}/secrets", json=document, accepted=(HTTPStatus.CONFLICT,))
        if answer.status_code == HTTPStatus.CONFLICT:
            self.delete_secret(document["metadata"]["name"])
            self._ask("POST", f"{self._core}/secrets", json=document)

    def delete_secret(self, name: str) -> None:
        """Delete a Secret; nothing if it is gone.

        Raises:
            RequestError: The API refuses.
            TransientError: It does not answer.
        """
        self._ask("DELETE", f"{self._core}/secrets/{name}", accepted=_GONE)

    def renew(self, lease: str, spec: Document) -> None:
        """Write the Lease of a name, and make it where there is none.

        Raises:
            RequestError: The API refuses.
            TransientError: It does not answer.
        """
        answer = self._ask("PATCH", f"{self._leases}/{lease}", json={"spec": spec}, headers=_MERGE, accepted=_GONE)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            self._ask("POST", self._leases, json={"metadata": {"name": lease}, "spec": spec})

    def close(self) -> None:
        """Release everything."""
        self._client.close()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Document | None = None,
        headers: Mapping[str, str] | None = None,
        accepted: Sequence[HTTPStatus] = (),
    ) -> httpx.Response:
        try:
            shown = {"Authorization": f"Bearer {self._token.read_text()}"} if self._token.exists() else {}
            answer = self._client.request(method, path, params=params, json=json, headers={**shown, **(headers or {})})
        except (httpx.HTTPError, OSError) as error:
            raise TransientError(
                f"the API of the cluster does not answer at {self._url}: {error}",
                remedy="look at the cluster, or name its address in MILLRACE_KUBERNETES__URL",
            ) from error
        if answer.is_error and answer.status_code not in accepted:
            is_closed = answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
            remedy = "apply deploy/kubernetes/launcher.yaml, which gives the launcher its rights" if is_closed else ""
            raise RequestError(f"the cluster refuses: {_said(answer)}", remedy=remedy)
        return answer


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip() or str(answer.status_code)
