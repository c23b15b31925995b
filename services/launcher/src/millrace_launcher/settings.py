"""What the environment says to a daemon, beside what it says to every process: `MILLRACE_LAUNCHER__*`."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from millrace.core.control.restarts import RestartPolicy
from millrace.core.errors import RequestError
from millrace.process.fleet import own_node_name
from millrace.process.oidc.settings import OidcSettings
from millrace.process.refusal import refusal
from millrace.process.settings import variable_name
from millrace.process.tls import ServerTls

PREFIX = "MILLRACE_LAUNCHER__"
CONTAINERS_PREFIX = "MILLRACE_CONTAINERS__"
KUBERNETES_PREFIX = "MILLRACE_KUBERNETES__"


class LauncherSettings(BaseSettings):
    """How one daemon is set up."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    node: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=60)] = Field(
        default_factory=own_node_name
    )
    """Name of this node; the machine's where absent. A node that comes back comes back with the same name."""
    host: str = "127.0.0.1"
    """Address of the REST API. Loopback by default; another one needs a key (`millrace keys create`), or `oidc`.
    Without TLS keys travel in clear."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9008
    """Port of the REST API; 0 takes a free one."""
    url: str = ""
    """Where other nodes reach the REST API; `http://<host>:<port>`, or `https://`, where absent."""
    tls: ServerTls | None = None
    """The certificate that the REST API and the web UI show; without one they speak in clear. Nodes that ask each other
    trust by `MILLRACE_TLS__*`."""
    oidc: OidcSettings | None = None
    """An identity provider whose tokens the REST API and the web UI take beside keys."""
    registries: tuple[str, ...] = ()
    """The schema registries that deployments may name, as JSON: `["https://registry.example:8081"]`. Where there are
    none, any: an operator can have processes ask hosts of your network then."""
    token: SecretStr | None = None
    """The owner's secret, which opens the whole REST API, the same on all nodes. Where absent, it is made up at the
    first start and kept in `<home>/launcher.token`, which its owner alone can read. Never shown."""
    lease_secs: Annotated[float, Field(ge=3, le=3_600)] = 6
    """A node that is not heard for so long ends what it runs; three seconds later that may run elsewhere. A daemon that
    was killed must be back within this time to find its processes running."""
    cores: Annotated[float, Field(gt=0)] | None = None
    """Processor cores that processes may be given; all of them where absent."""
    memory_mb: Annotated[int, Field(ge=1)] | None = None
    """Memory that processes may be given, MiB; all of it where absent."""
    runner: str = "local"
    """What runs this node's processes: `local`, on this machine; `container`, in containers of this machine;
    `kubernetes`, in Pods of a cluster; or the name of another entry point of the group `millrace.runners`."""
    installer: str = ""
    """Command of `millrace env sync`, which is given `NAME==VERSION` for each library; uv's or pip's where absent."""
    hung_secs: Annotated[float, Field(ge=1, le=3_600)] = 30
    """A process that was ready and has not answered on `/livez` for so long is killed and started again."""
    crash_tries: Annotated[int, Field(ge=1, le=1_000)] = 5
    """A process that crashes again and again is started so often again at most; then it is failed, with its reason."""
    crash_wait_secs: Annotated[float, Field(gt=0, le=60)] = 1
    """The first start again is at once; this is the wait before the second, and it doubles from there up to 60 s."""

    @property
    def lease(self) -> timedelta:
        """How long the node's processes run on when it is not heard."""
        return timedelta(seconds=self.lease_secs)

    @property
    def restarts(self) -> RestartPolicy:
        """When a process that crashed may start again."""
        return RestartPolicy(tries=self.crash_tries, first=timedelta(seconds=self.crash_wait_secs))

    @classmethod
    def load(cls, **given: Any) -> Self:  # noqa: ANN401 -- checked by the model
        """Read the environment; what is `given` and not None takes the place of what it says.

        Raises:
            RequestError: A variable or a value is not valid; names it.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except (ValidationError, SettingsError) as error:
            raise _refused(error, PREFIX, "the launcher's settings") from None


class ContainerSettings(BaseSettings):
    """How the runner `container` runs processes: `MILLRACE_CONTAINERS__*`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, env_prefix=CONTAINERS_PREFIX, env_ignore_empty=True
    )

    engine: Path = Path("/var/run/docker.sock")
    """Socket of the engine: Docker's, or another one's that answers as Docker does."""
    images: dict[str, str] = {}
    """Images by kind of process, as JSON: `{"scorer": "registry/scorer:1"}`; `millrace/<kind>:0.1.0` for others. They
    must be on the machine."""
    network: str = "host"
    """Network of the containers. With `host` they reach a broker on this machine's loopback; on any other one the
    addresses that brokers advertise must lead somewhere from there."""
    user: Annotated[str, StringConstraints(pattern=r"^[1-9]\d*(:\d+)?$")] = "10001:10001"
    """User and group of the processes, as numbers; never root."""
    mounts: list[str] = []
    """Further folders of this machine, as JSON: `["/data:/data:ro"]`. The folder of model files is always there."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            RequestError: A variable is not valid; names it.
        """
        try:
            return cls()
        except (ValidationError, SettingsError) as error:
            raise _refused(error, CONTAINERS_PREFIX, "the settings of containers") from None


class KubernetesSettings(BaseSettings):
    """How the runner `kubernetes` runs processes: `MILLRACE_KUBERNETES__*`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, env_prefix=KUBERNETES_PREFIX, env_ignore_empty=True
    )

    url: str = ""
    """Address of the API; where absent, the one that Kubernetes tells every Pod."""
    account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with the files `token` and `ca.crt`, which the API is spoken to with."""
    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")] = "millrace"
    """Where Pods are made."""
    images: dict[str, str] = {}
    """Images by kind of process, as JSON; `millrace/<kind>:0.1.0` for others."""
    process_account: str = "millrace-process"
    """Service account of the Pods, which may read the node's Lease and nothing else."""
    claim: str = "millrace-blobs"
    """PersistentVolumeClaim of the model files; Pods have none where empty."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            RequestError: A variable is not valid; names it.
        """
        try:
            return cls()
        except (ValidationError, SettingsError) as error:
            raise _refused(error, KUBERNETES_PREFIX, "the settings of Pods") from None


def _refused(error: ValidationError | SettingsError, prefix: str, subject: str) -> RequestError:
    if isinstance(error, ValidationError):
        return refusal(error, subject=subject, name=partial(variable_name, prefix))
    return RequestError(f"{subject} cannot be read: {error}", remedy="lists and mappings are written as JSON")
