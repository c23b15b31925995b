"""Deployments, nodes and processes: everything that a launcher's REST API can be asked.

Each method is one request, named like the operation that it calls; nothing here does anything that the API does not.
"""

import os
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import quote

import httpx

from millrace.client.identity import who_am_i
from millrace.client.node import local_nodes
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.process.settings import Settings
from millrace.process.tls import refusal_of

Json: TypeAlias = dict[str, Any]
"""A JSON object as the API answers it; `/openapi.json` describes them."""

URL: Final = "MILLRACE_LAUNCHER__URL"
TOKEN: Final = "MILLRACE_LAUNCHER__TOKEN"  # noqa: S105 -- its name and not the token
KEY: Final = "MILLRACE_KEY"
KEY_FILE: Final = "MILLRACE_KEY_FILE"

_PATIENCE: Final = timedelta(seconds=30)
_INSTALLING: Final = timedelta(minutes=10)
_PAUSE_SECS: Final = 0.2


class ControlClient:
    """A launcher's API. Holds connections: close it, or use it in a `with`.

    Every method may raise RequestError for what does not exist or cannot be, and TransientError where the launcher, or
    the broker behind it, does not answer.

    Args:
        url: Where the API is; the environment's (`MILLRACE_LAUNCHER__URL`) or else a local node's where absent.
        token: The key to show. Where absent: `MILLRACE_KEY`, or what the file of `MILLRACE_KEY_FILE` holds, or the
            owner's secret (`MILLRACE_LAUNCHER__TOKEN`, else that of this machine's file).
        home: The folder of millrace on this machine; the environment's where absent.
        trust: Whose certificates are trusted, and which one is shown; the environment's (`MILLRACE_TLS__*`) where
            absent.

    Raises:
        RequestError: No launcher is named, and none runs here; or a file with the key or a certificate cannot be read.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        home: Path | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        settings = Settings.load()
        folder = home or settings.home
        self.url = url or os.environ.get(URL) or local_url(folder)
        shown = token or _environment_key() or os.environ.get(TOKEN) or _local_token(folder)
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {shown}", "Millrace-User": who_am_i()},
            timeout=_PATIENCE.total_seconds(),
            verify=trust or settings.tls.context(),
            trust_env=False,
        )

    def nodes(self) -> list[Json]:
        """All nodes: what each has, what of it is given away, and whether it may be counted on."""
        return self._list("GET", "/v1/nodes")

    def deployments(self) -> list[Json]:
        """How every deployment fares."""
        return self._list("GET", "/v1/deployments")

    def deployment(self, name: str) -> Json:
        """A deployment's document, and how it fares."""
        return self._object("GET", f"/v1/deployments/{_part(name)}")

    def put(self, name: str, document: Mapping[str, Any]) -> Json:
        """Create or change a deployment; the same document again changes nothing."""
        return self._object("PUT", f"/v1/deployments/{_part(name)}", json=document)

    def plan(self, name: str, document: Mapping[str, Any]) -> Json:
        """What `put` would do, and what will not work: `changes`, `decisions`, `faults`."""
        return self._object("POST", f"/v1/deployments/{_part(name)}/plan", json=document)

    def scale(self, name: str, counts: Mapping[str, bool | int]) -> Json:
        """Change how many processes there shall be: `{"scorers": 3}`."""
        return self._object("POST", f"/v1/deployments/{_part(name)}/scale", json=counts)

    def delete(self, name: str) -> Json:
        """Delete a deployment: its processes drain, its topics stay."""
        return self._object("DELETE", f"/v1/deployments/{_part(name)}")

    def why(self, name: str) -> list[str]:
        """Why a deployment is as it is: the cause in the first line, then what led to it."""
        lines: list[str] = self._ask("GET", f"/v1/deployments/{_part(name)}/why")
        return lines

    def answers(self, name: str) -> list[Json]:
        """The four questions about a deployment: `question`, `light`, `says`, `numbers`, `evidence`."""
        return self._list("GET", f"/v1/deployments/{_part(name)}/answers")

    def processes(self) -> list[Json]:
        """What runs, and what ended last."""
        return self._list("GET", "/v1/processes")

    def logs(self, slot: str, *, lines: int = 100) -> list[str]:
        """The last lines that the processes of a slot said, also after they ended.

        Args:
            slot: `deployment/kind/number`.
            lines: The most lines.
        """
        found: list[str] = self._ask("GET", f"/v1/processes/{_slot(slot)}/logs", params={"lines": lines})
        return found

    def service_discovery(self) -> list[Json]:
        """Where the metrics of the fleet are: groups of `targets` and `labels`, as Prometheus reads them."""
        return self._list("GET", "/v1/service-discovery")

    def metrics(self, slot: str | None = None) -> str:
        """Metrics in Prometheus' text format: of a slot's process, or of the launcher that answers."""
        return self._answer("GET", "/v1/metrics", params={} if slot is None else {"slot": slot}).text

    def history(
        self,
        deployment: str | None = None,
        *,
        who: str | None = None,
        what: str | None = None,
        since: datetime | None = None,
    ) -> list[Json]:
        """Who changed what, and who was refused, oldest first.

        Args:
            deployment: Only about this deployment.
            who: Only by whose name begins so.
            what: Only actions that begin so: `scale`, `refused`.
            since: Not before this.
        """
        since_ms = None if since is None else round(since.timestamp() * 1000)
        wanted = {"deployment": deployment, "who": who, "what": what, "since_ms": since_ms}
        return self._list(
            "GET", "/v1/history", params={name: each for name, each in wanted.items() if each is not None}
        )

    def jobs(self) -> list[Json]:
        """What was launched beside the deployments, and how each fares."""
        return self._list("GET", "/v1/jobs")

    def job(self, name: str) -> Json:
        """One job, and how it fares: `state` is done or failed when it has ended."""
        return self._object("GET", f"/v1/jobs/{_part(name)}")

    def submit(self, document: Mapping[str, Any]) -> Json:
        """Launch a process on some node.

        Args:
            document: Its `kind`; where they are not to be as usual its `name`, `arguments`, `environment`, `folder`,
                `variables`, `needs` and `libraries`.

        Returns:
            Its id as `job`, and its `slot`.
        """
        return self._object("POST", "/v1/jobs", json=document)

    def cancel(self, name: str) -> Json:
        """End a job where it runs, and forget it."""
        return self._object("DELETE", f"/v1/jobs/{_part(name)}")

    def environment(self, name: str) -> list[Json]:
        """Whether each node has the libraries that a deployment needs, and what it lacks."""
        return self._list("GET", f"/v1/deployments/{_part(name)}/environment")

    def sync_environment(self, name: str, node: str) -> Json:
        """Install on a node what a deployment needs and it lacks; blocks until it is done."""
        path = f"/v1/deployments/{_part(name)}/environment/{_part(node)}"
        return self._object("POST", path, timeout=_INSTALLING.total_seconds())

    def verification(self) -> Json:
        """Whether the history is whole: no record edited, dropped or put in between."""
        return self._object("GET", "/v1/history/verification")

    def series(self, slot: str) -> Json:
        """The figures of a slot's processes over the last hour: a list each, oldest first.

        Args:
            slot: `deployment/kind/number`.
        """
        return self._object("GET", f"/v1/processes/{_slot(slot)}/series")

    def audits(self, name: str, *, last: int = 50) -> Json:
        """The newest report of each of a deployment's last `windows`, oldest first, and the `alerts` that are open."""
        return self._object("GET", f"/v1/deployments/{_part(name)}/audits", params={"last": last})

    def dead_letters(self, name: str, *, most: int = 20) -> list[Json]:
        """The newest records of a deployment that could not be scored, the newest first."""
        return self._list("GET", f"/v1/deployments/{_part(name)}/dead-letters", params={"most": most})

    def models(self) -> list[Json]:
        """All versions of all models, and the aliases that name them."""
        return self._list("GET", "/v1/models")

    def model(self, name: str, version: int) -> Json:
        """Everything that is known of a version."""
        return self._object("GET", f"/v1/models/{_part(name)}/{version}")

    def promote(self, name: str, version: int) -> Json:
        """Make a version the champion; scorers switch between two micro-batches."""
        return self._object("POST", f"/v1/models/{_part(name)}/promote", json={"version": version})

    def rollback(self, name: str) -> Json:
        """Make the version of a model the champion that was it before."""
        return self._object("POST", f"/v1/models/{_part(name)}/rollback")

    def caller(self) -> Json:
        """Who is asking, and what he may do: `who`, `role`."""
        return self._object("GET", "/v1/caller")

    def keys(self) -> list[Json]:
        """All keys, without their texts."""
        return self._list("GET", "/v1/keys")

    def create_key(self, name: str, *, role: str = "viewer", lasts: timedelta | None = None) -> Json:
        """Make a key. Its text, `key`, is in the answer and never again anywhere.

        Args:
            name: Names it in the history.
            role: `viewer`, `operator` or `admin`.
            lasts: After so long it opens nothing any more; it never ends by itself where absent.
        """
        lasts_secs = None if lasts is None else int(lasts.total_seconds())
        return self._object("POST", "/v1/keys", json={"name": name, "role": role, "lasts_secs": lasts_secs})

    def rotate_key(self, name: str) -> Json:
        """Give a key another text, `key` in the answer; the old one opens nothing any more."""
        return self._object("POST", f"/v1/keys/{_part(name)}/rotate")

    def revoke_key(self, name: str) -> Json:
        """Take a key away, everywhere and for good."""
        return self._object("DELETE", f"/v1/keys/{_part(name)}")

    def sign_in_address(self) -> str:
        """Where a browser finds the UI, with the key behind the `#`, which browsers keep to themselves."""
        return f"{self.url}/sign-in#{self._client.headers['Authorization'].removeprefix('Bearer ')}"

    def wait_ready(self, name: str, *, within: timedelta, pause: Callable[[float], None] = time.sleep) -> Json:
        """Wait until every process that a deployment desires does its work.

        Args:
            name: Of the deployment.
            within: When to give up.
            pause: Sleeps for so many seconds between two looks; what it raises ends the wait.

        Raises:
            RequestError: A process has failed and is not started any more.
            TransientError: It did not come true in time; says what it is waiting for.
        """
        give_up = time.monotonic() + within.total_seconds()
        while True:
            found = self.deployment(name)
            if found["state"] == "ready":
                return found
            if found["state"] in {"failed", "invalid"}:
                raise RequestError(f"{name} is {found['state']}: {found['why']}", remedy=f"see `millrace why {name}`")
            if time.monotonic() > give_up:
                raise TransientError(
                    f"{name} is {found['state']} after {within.total_seconds():g} s: {found['why']}",
                    remedy=f"wait longer, or see `millrace why {name}`",
                )
            pause(_PAUSE_SECS)

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _list(self, method: str, path: str, **request: Any) -> list[Json]:  # noqa: ANN401 -- of httpx
        found: list[Json] = self._ask(method, path, **request)
        return found

    def _object(self, method: str, path: str, **request: Any) -> Json:  # noqa: ANN401 -- of httpx
        found: Json = self._ask(method, path, **request)
        return found

    def _ask(self, method: str, path: str, **request: Any) -> Any:  # noqa: ANN401 -- JSON
        return self._answer(method, path, **request).json()

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 -- of httpx
        try:
            answer = self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            if refusal := refusal_of(error, f"the launcher at {self.url}"):
                raise refusal from error
            raise TransientError(
                f"the launcher at {self.url} does not answer: {error}", remedy="start it with `millrace up`"
            ) from error
        if answer.is_success:
            return answer
        raise _refusal(answer)


def local_url(home: Path) -> str:
    """Where the API of a node of this machine is.

    Raises:
        RequestError: None has been started, or all were stopped.
    """
    for found in local_nodes(home):
        return str(found.url)
    raise RequestError(
        "no launcher is named, and none runs here", remedy=f"run `millrace up`, or name one: --launcher or {URL}"
    )


def _environment_key() -> str | None:
    """The key that the environment holds, or the file that it names."""
    if (key := os.environ.get(KEY)) or not (path := os.environ.get(KEY_FILE)):
        return key
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"the key file {path} cannot be read: {error}", remedy=f"check its path, or who may read it: {KEY_FILE}"
        ) from error


def _local_token(home: Path) -> str:
    try:
        return (home / "launcher.token").read_text().strip()
    except OSError:
        return ""  # The launcher will say what it wants.


def _part(text: str) -> str:
    return quote(text, safe="")


def _slot(text: str) -> str:
    if text.count("/") != 2:
        raise RequestError(f"{text!r} is no slot", remedy="write DEPLOYMENT/KIND/NUMBER: see `millrace processes`")
    return "/".join(map(_part, text.split("/")))


def _refusal(answer: httpx.Response) -> MillraceError:
    try:
        said = answer.json()
        message, remedy = str(said["error"]), str(said["remedy"])
    except (ValueError, KeyError, TypeError):
        message, remedy = f"the launcher answered {answer.status_code}", "read its log"
    kind = RequestError if answer.is_client_error else TransientError
    return kind(message, remedy=remedy)
