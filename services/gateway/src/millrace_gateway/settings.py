"""What the environment says to a gateway, beside what it says to every process: `MILLRACE_GATEWAY__*`."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from millrace.core.errors import RequestError
from millrace.process.refusal import KeyPath, refusal
from millrace.process.settings import FROZEN

PREFIX = "MILLRACE_GATEWAY__"

Port = Annotated[int, Field(ge=0, le=65_535)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]


class Rest(BaseModel):
    """Where HTTP is served."""

    model_config = FROZEN

    host: str = "127.0.0.1"
    """Address to listen on. Loopback by default, because nothing asks who is calling."""
    port: Port = 8000
    """Port to listen on; several gateways of one machine may share it. 0 takes a free one."""


class Grpc(BaseModel):
    """Where gRPC is served."""

    model_config = FROZEN

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8001
    """Port to listen on; several gateways of one machine may share it. 0 takes a free one."""


class Limits(BaseModel):
    """Bounds of requests and of what is in memory, checked before anything large is allocated."""

    model_config = FROZEN

    body_bytes: Bytes = 16 * 2**20
    """Largest body of a request, counted as it arrives, and largest gRPC request."""


class GatewaySettings(BaseSettings):
    """What the environment says to a gateway."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    rest: Rest = Rest()
    """Where HTTP is served."""
    grpc: Grpc = Grpc()
    """Where gRPC is served."""
    limits: Limits = Limits()
    """Bounds of requests and of what is in memory."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            RequestError: A variable has no such setting or no valid value; the error names the variable, not its value.
        """
        try:
            return cls()
        except ValidationError as error:
            raise refusal(error, subject="the environment", name=_variable) from None
        except SettingsError as error:
            raise RequestError(f"the environment: {error}", remedy="write lists and maps as JSON") from None


def _variable(path: KeyPath) -> str:
    return PREFIX + "__".join(map(str, path)).upper()
