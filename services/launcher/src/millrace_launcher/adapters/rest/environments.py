"""Which nodes have the libraries that a deployment needs, and installing them where they are not."""

import ssl
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import httpx

from millrace.core.control.fleet import Inventory
from millrace.core.control.placement import unfitness
from millrace.core.errors import RequestError, TransientError
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC, Change, ControlWriter
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings
from millrace_launcher.adapters.installing import install
from millrace_launcher.adapters.view import FleetView

Document: TypeAlias = dict[str, Any]

_PATIENCE_SECS: Final = 600.0


class EnvironmentDesk:
    """Answers about environments. Shared by threads; close it, or use it in a `with`.

    All methods raise RequestError for what does not exist or cannot be, and TransientError without a broker.

    Args:
        kafka: The cluster.
        view: The fleet.
        node: This node's name.
        token: What other nodes want to be shown.
        trust: Whose certificates are trusted where other nodes speak TLS.
        installer: The command that installs; uv's or pip's where empty.
        take_stock: Looks at this node's environment again, tells the others, and returns what is there.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        view: FleetView,
        *,
        node: str,
        token: str,
        trust: ssl.SSLContext,
        installer: str,
        take_stock: Callable[[], Inventory],
    ) -> None:
        self._view = view
        self._node = node
        self._token = token
        self._trust = trust
        self._installer = installer
        self._take_stock = take_stock
        self._working = Lock()  # Two installers at once would be in each other's way.
        self._writer = ControlWriter(kafka, who="launcher", topics=(DEPLOYMENTS_TOPIC,))

    def environment(self, deployment: str) -> list[Document]:
        """Whether each node has what a deployment needs; what it lacks with the version found and needed."""
        needed = dict(self._deployment(deployment).scale.libraries)
        found = []
        for name, heard in sorted(self._view.heartbeats().items()):
            why = unfitness(needed, heard.heartbeat.inventory)
            has = heard.heartbeat.inventory.libraries
            versions = {library: has.get(library) for library in needed}
            found.append({"node": name, "fit": why is None, "why": why or "", "found": versions, "needed": needed})
        return found

    def sync(self, deployment: str, node: str, *, who: str) -> Document:
        """Install on a node what a deployment needs and it lacks; says what was installed."""
        if node != self._node:
            return self._ask(deployment, node)
        needed = self._deployment(deployment).scale.libraries
        with self._working:
            has = self._take_stock().libraries
            lacking = {name: version for name, version in needed.items() if has.get(name) != version}
            if lacking:
                install(lacking, installer=self._installer)
            if (why := unfitness(needed, self._take_stock())) is not None:
                raise RequestError(
                    f"node {node} {why}, after it was installed", remedy="see what comes before it on the node's path"
                )
            result = {"node": node, "installed": lacking}
            noted = bool(lacking)
            self._writer.apply(f"node/{node}", "sync environment", lambda _: Change((), result, noted), who=who)
        return result

    def close(self) -> None:
        """Release everything."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deployment(self, name: str) -> Deployment:
        known = self._view.desired().deployments
        if name not in known:
            raise RequestError(
                f"there is no deployment {name!r}", remedy=f"known: {', '.join(sorted(known)) or 'none'}"
            )
        return known[name]

    def _ask(self, deployment: str, node: str) -> Document:
        heartbeat = self._view.heartbeat(node)
        if heartbeat is None:
            raise RequestError(f"there is no node {node!r}", remedy="see `millrace nodes`")
        try:
            answer = httpx.post(
                f"{heartbeat.url}/v1/deployments/{deployment}/environment/{node}",
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=_PATIENCE_SECS,
                verify=self._trust,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise TransientError(f"node {node} at {heartbeat.url} does not answer: {error}") from error
        said: Document = answer.json()
        if answer.is_client_error:
            raise RequestError(said["error"], remedy=said["remedy"])
        if not answer.is_success:
            raise TransientError(f"node {node}: {said['error']}", remedy=said["remedy"])
        return said
