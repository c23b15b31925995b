"""What a machine of a cluster does, as far as the launcher counts on it: Pods are bound, run, ended, and told about.

A Pod's command runs as a process of this machine, and what it mounts lies in a folder: instead of a file system of its
own it gets paths that are replaced in its command and its files. Images whose name says `absent` cannot be pulled.
"""

import base64
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
from api_server import NAMESPACE, ApiServer

from millrace.testing.running import serving

NODE: Final = "machine"
_PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_LAUNCH: Final = "/run/millrace"
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_TURN_SECS: Final = 0.1

Pod = Mapping[str, Any]


@dataclass(slots=True)
class Container:
    """The process of a Pod."""

    process: subprocess.Popen[bytes]
    began: datetime
    memory_bytes: int
    kill_at: float | None = None
    reason: str = ""
    status: dict[str, Any] = field(default_factory=dict)

    def stop(self, grace_secs: float, now: datetime) -> None:
        """Ask it to end, once; a shorter grace counts."""
        if self.kill_at is None:
            self.process.terminate()
        until = now.timestamp() + grace_secs
        self.kill_at = until if self.kill_at is None else min(self.kill_at, until)

    def tend(self, now: datetime) -> None:
        """Kill it when its grace is over or its memory too large."""
        if self.kill_at is not None and now.timestamp() >= self.kill_at:
            self._kill()
        with suppress(psutil.NoSuchProcess):
            family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
            if sum(each.memory_info().rss for each in family) > self.memory_bytes:
                self.reason = "OOMKilled"
                self._kill()

    def _kill(self) -> None:
        with suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                each.kill()
        self.process.kill()


class Kubelet:
    """Runs the Pods of a namespace until it is stopped."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._containers: dict[str, Container] = {}
        self._bound: set[str] = set()

    def run(self, stopping: Event) -> None:
        """Look after all Pods, again and again."""
        while not stopping.wait(_TURN_SECS):
            pods = {pod["metadata"]["name"]: pod for pod in self._server.admin.get(_PODS).json()["items"]}
            for name, pod in pods.items():
                self._tend(name, pod)
            for name in self._containers.keys() - pods.keys():
                self._containers.pop(name).process.kill()
        for container in self._containers.values():
            container.process.kill()
            container.process.wait()

    def log(self, name: str) -> Path:
        """What a Pod said."""
        return self._folder / name / "log"

    def pid(self, name: str) -> int:
        """The process of a Pod."""
        return self._containers[name].process.pid

    def _tend(self, name: str, pod: Pod) -> None:
        if not pod["spec"].get("nodeName"):
            if name not in self._bound:
                self._bound.add(name)
                target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
                self._server.admin.post(f"{_PODS}/{name}/binding", json={"metadata": {"name": name}, "target": target})
        elif pod["status"]["phase"] in {"Succeeded", "Failed"}:
            if "deletionTimestamp" in pod["metadata"]:
                self._remove(name)
        elif name in self._containers:
            self._look_after(name, pod, self._containers[name])
        elif "absent" in pod["spec"]["containers"][0]["image"]:
            waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
            self._tell(name, pod, phase="Pending", state={"waiting": waiting})
            if "deletionTimestamp" in pod["metadata"]:
                self._remove(name)
        else:
            self._start(name, pod)

    def _start(self, name: str, pod: Pod) -> None:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        account = self._server.account(pod["spec"]["serviceAccountName"], folder / "account")
        self._write_secret(name, folder, str(account))
        spec = pod["spec"]["containers"][0]
        command = [word.replace(_LAUNCH, str(folder)) for word in spec["command"]]
        address = urlsplit(self._server.url)
        environment = {
            "PATH": os.environ["PATH"],
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
        }
        # The guard's program is "python", too, and must be this one.
        command = [sys.executable if word == "python" else word for word in command]
        with self.log(name).open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        now = datetime.now(UTC)
        self._containers[name] = Container(process, now, int(spec["resources"]["limits"]["memory"]))
        self._tell(name, pod, phase="Running", state={"running": {"startedAt": _written(now)}}, began=now)

    def _write_secret(self, name: str, folder: Path, account: str) -> None:
        found = self._server.admin.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}").raise_for_status().json()
        for file, written in found["data"].items():
            (folder / file).write_text(base64.b64decode(written).decode().replace(_ACCOUNT, account))

    def _look_after(self, name: str, pod: Pod, container: Container) -> None:
        now = datetime.now(UTC)
        lasts = pod["spec"].get("activeDeadlineSeconds")
        if "deletionTimestamp" in pod["metadata"]:
            container.stop(pod["metadata"]["deletionGracePeriodSeconds"], now)
        elif lasts is not None and (now - container.began).total_seconds() >= lasts:
            container.stop(pod["spec"]["terminationGracePeriodSeconds"], now)
        container.tend(now)
        code = container.process.poll()
        if code is None:
            return
        code = code if code >= 0 else 128 - code
        over = {
            "exitCode": code,
            "startedAt": _written(container.began),
            "finishedAt": _written(now),
            "reason": container.reason or ("Error" if code else "Completed"),
        }
        is_late = lasts is not None and "deletionTimestamp" not in pod["metadata"]
        self._tell(
            name,
            pod,
            phase="Failed" if code or is_late else "Succeeded",
            state={"terminated": over},
            began=container.began,
            reason="DeadlineExceeded" if is_late else "",
        )

    def _tell(
        self, name: str, pod: Pod, *, phase: str, state: Pod, began: datetime | None = None, reason: str = ""
    ) -> None:
        image = pod["spec"]["containers"][0]["image"]
        told = {"name": "process", "image": image, "imageID": "", "ready": False, "restartCount": 0, "state": state}
        status: dict[str, Any] = {"phase": phase, "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        status["containerStatuses"] = [told]
        if reason:
            status["reason"] = reason
        if began is not None:
            status["startTime"] = _written(began)
        patched = self._server.admin.patch(f"{_PODS}/{name}/status", json={"status": status}, headers=_MERGE)
        if patched.status_code != httpx.codes.NOT_FOUND:
            patched.raise_for_status()

    def _remove(self, name: str) -> None:
        """The containers are gone, and with them their logs: now the object may go."""
        shutil.rmtree(self._folder / name, ignore_errors=True)
        if (container := self._containers.pop(name, None)) is not None:
            container.process.wait()
        self._server.admin.request("DELETE", f"{_PODS}/{name}", json={"gracePeriodSeconds": 0})


@contextmanager
def kubelet(server: ApiServer, folder: Path) -> Iterator[Kubelet]:
    """A machine of the cluster, for as long as the block lasts."""
    made = Kubelet(server, folder)
    with _serving_logs(server, made) as port:
        server.admin.post("/api/v1/nodes", json={"metadata": {"name": NODE}}).raise_for_status()
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        path = f"/api/v1/nodes/{NODE}/status"
        server.admin.patch(path, json={"status": status}, headers=_MERGE).raise_for_status()
        stopping = Event()
        thread = Thread(target=made.run, args=(stopping,), name="kubelet")
        thread.start()
        try:
            yield made
        finally:
            stopping.set()
            thread.join()


@contextmanager
def _serving_logs(server: ApiServer, made: Kubelet) -> Iterator[int]:
    """Serve the logs of Pods as a machine does, to the API server; returns the port."""

    class Logs(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            path = made.log(asked.path.split("/")[3])
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            self.send_response(200 if path.exists() else 404)
            self.end_headers()
            self.wfile.write(b"".join(lines[-int(parse_qs(asked.query)["tailLines"][0]) :]))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(server.certificate, server.certificate.with_suffix(".key"))
    server_of_logs = ThreadingHTTPServer(("127.0.0.1", 0), Logs)
    server_of_logs.socket = trust.wrap_socket(server_of_logs.socket, server_side=True)
    with serving(server_of_logs):
        yield server_of_logs.server_port


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
