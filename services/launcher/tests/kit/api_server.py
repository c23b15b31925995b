"""A real API server of Kubernetes on loopback, with its etcd, and the rights that the project's manifests give."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from millrace.kafka.free_ports import choose_ports
from millrace.testing.waiting import eventually

NAMESPACE: Final = "millrace"
LAUNCHER: Final = "millrace-launcher"
MANIFESTS: Final = Path(__file__).parents[4] / "deploy" / "kubernetes"
_ADMIN: Final = "token-of-the-admin"
_PATHS: Final = {
    "ServiceAccount": "/api/v1/namespaces/millrace/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/millrace/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/millrace/rolebindings",
    "StatefulSet": "/apis/apps/v1/namespaces/millrace/statefulsets",
    "Service": "/api/v1/namespaces/millrace/services",
    "Deployment": "/apis/apps/v1/namespaces/millrace/deployments",
    "Job": "/apis/batch/v1/namespaces/millrace/jobs",
    "ConfigMap": "/api/v1/namespaces/millrace/configmaps",
    "PersistentVolumeClaim": "/api/v1/namespaces/millrace/persistentvolumeclaims",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/millrace/poddisruptionbudgets",
}


@dataclass(frozen=True, slots=True)
class ApiServer:
    """An API server that runs.

    Attributes:
        url: Its address.
        folder: Where its keys are.
        admin: Somebody who may do everything.
    """

    url: str
    folder: Path
    admin: httpx.Client

    @property
    def certificate(self) -> Path:
        """Its certificate, which is its own authority."""
        return self.folder / "certificates" / "apiserver.crt"

    def account(self, name: str, folder: Path) -> Path:
        """Write what a Pod of a service account is given: `token` and `ca.crt`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = f"{_PATHS['ServiceAccount']}/{name}/token"
        asked = self.admin.post(path, json={"spec": {"expirationSeconds": 3600}}).raise_for_status()
        (folder / "token").write_text(asked.json()["status"]["token"])
        (folder / "ca.crt").write_bytes(self.certificate.read_bytes())
        return folder

    def apply_manifests(self) -> None:
        """Make what the project's files say."""
        self.admin.post("/api/v1/namespaces", json=_read("namespace.yaml")[0]).raise_for_status()
        for each in _read("launcher.yaml"):
            self.admin.post(_PATHS[each["kind"]], json=each).raise_for_status()

    def tries(self, manifest: dict[str, Any]) -> httpx.Response:
        """What it says of an object, as it would be made; nothing is."""
        return self.admin.post(
            _PATHS[manifest["kind"]], json=manifest, params={"dryRun": "All", "fieldValidation": "Strict"}
        )


@contextmanager
def api_server(binaries: Path, folder: Path) -> Iterator[ApiServer]:
    """A server of its own, with the project's manifests applied, for as long as the block lasts."""
    ports = choose_ports(os.getpid())
    etcd, peers, port = ports.client, ports.internal, ports.controller
    certificates, tokens = folder / "certificates", folder / "tokens.csv"
    tokens.write_text(f"{_ADMIN},admin,1,system:masters\n")
    key, public = folder / "accounts.key", folder / "accounts.pub"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
    with ExitStack() as stack:
        stack.enter_context(
            _running(
                [
                    str(binaries / "etcd"),
                    f"--data-dir={folder / 'etcd'}",
                    f"--listen-client-urls=http://127.0.0.1:{etcd}",
                    f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                    f"--listen-peer-urls=http://127.0.0.1:{peers}",
                    f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
                    f"--initial-cluster=default=http://127.0.0.1:{peers}",
                    "--unsafe-no-fsync",
                ],
                folder / "etcd.log",
            )
        )
        stack.enter_context(
            _running(
                [
                    str(binaries / "kube-apiserver"),
                    f"--etcd-servers=http://127.0.0.1:{etcd}",
                    "--bind-address=127.0.0.1",
                    f"--secure-port={port}",
                    f"--cert-dir={certificates}",
                    f"--token-auth-file={tokens}",
                    "--authorization-mode=RBAC",
                    "--service-cluster-ip-range=10.96.0.0/24",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-key-file={public}",
                    f"--service-account-signing-key-file={key}",
                    "--kubelet-preferred-address-types=InternalIP",
                    "--endpoint-reconciler-type=none",
                ],
                folder / "api-server.log",
            )
        )
        certificate = certificates / "apiserver.crt"
        within = timedelta(seconds=90)
        eventually(certificate.exists, within=within, what="the server's certificate")
        url = f"https://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {_ADMIN}"}
        admin = stack.enter_context(httpx.Client(base_url=url, headers=headers, verify=False, trust_env=False))  # noqa: S501
        made = ApiServer(url, folder, admin)
        eventually(lambda: _is_ready(admin), within=within, what="the API server")
        made.apply_manifests()
        yield made


def _is_ready(admin: httpx.Client) -> bool:
    try:
        return admin.get("/readyz").is_success
    except httpx.TransportError:
        return False


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent) as started:
        try:
            yield
        finally:
            started.kill()


def _read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))
