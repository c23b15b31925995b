"""What the environment says to a daemon, beside what it says to every process: `MILLRACE_LAUNCHER__*`."""

from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from millrace.core.control.restarts import RestartPolicy
from millrace.process.fleet import own_node_name
from millrace.process.refusal import refusal
from millrace.process.settings import variable_name

PREFIX = "MILLRACE_LAUNCHER__"


class LauncherSettings(BaseSettings):
    """How one daemon is set up."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, env_prefix=PREFIX, env_ignore_empty=True
    )

    node: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=60)] = Field(
        default_factory=own_node_name
    )
    """Name of this node; the machine's where absent. A node that comes back comes back with the same name."""
    host: str = "127.0.0.1"
    """Address of the REST API. Loopback by default; another one needs a key (`millrace keys create`). Keys travel in
    clear, so put TLS before it."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9008
    """Port of the REST API; 0 takes a free one."""
    url: str = ""
    """Where other nodes reach the REST API; `http://<host>:<port>` where absent."""
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
    """What runs processes: `local`, on this machine; or the name of an entry point of the group `millrace.runners`."""
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
        except ValidationError as error:
            raise refusal(error, subject="the launcher's settings", name=partial(variable_name, PREFIX)) from None
