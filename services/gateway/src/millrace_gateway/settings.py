"""What the environment says to a gateway, beside what it says to every process: `MILLRACE_GATEWAY__*`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from millrace.process.oidc.settings import OidcSettings
from millrace.process.settings import FROZEN, read_environment
from millrace.process.tls import ServerTls

PREFIX = "MILLRACE_GATEWAY__"

Port = Annotated[int, Field(ge=0, le=65_535)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class KeyRule(StrEnum):
    """Whether callers need a key."""

    NONE = "none"
    """Whoever reaches the doors may use them."""
    REQUIRED = "required"
    """Asking takes a key, or a token, of the role viewer; sending events, labels and files, and loading models, one of
    operator."""


class Rest(BaseModel):
    """Where HTTP is served."""

    model_config = FROZEN

    host: str = "127.0.0.1"
    """Address to listen on. Loopback by default; before you choose another one, see `keys`."""
    port: Port = 8000
    """Port to listen on; several gateways of one machine may share it. 0 takes a free one."""


class Grpc(BaseModel):
    """Where gRPC is served."""

    model_config = FROZEN

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8001
    """Port to listen on; several gateways of one machine may share it. 0 takes a free one."""


class Haproxy(BaseModel):
    """HAProxy in front of the workers of this machine."""

    model_config = FROZEN

    socket: Path | None = None
    """Its runtime socket. With it HAProxy listens on the addresses above, and each worker on free ports of its own."""
    workers: Annotated[int, Field(ge=1, le=256)] = 8
    """Places for workers in the configuration that `millrace-gateway --haproxy` writes."""


class Limits(BaseModel):
    """Bounds of requests and of what is in memory, checked before anything large is allocated."""

    model_config = FROZEN

    body_bytes: Bytes = 16 * 2**20
    """Largest body of a request, counted as it arrives, and largest gRPC request."""
    body_secs: Seconds = 30.0
    """Longest time for a body to arrive."""
    head_bytes: Bytes = 65_536
    """Longest headers of a request."""
    head_secs: Seconds = 10.0
    """Longest time for the head of a request to arrive, from the connection or from its first byte."""
    connections: Count = 2_000
    """Most connections over HTTP, and most calls at a time over gRPC."""
    requests_per_sec: Count | None = None
    """Most requests a second of one client, known by its `X-API-Key` or `Authorization`, or else by its address."""
    request_secs: Seconds = 30.0
    """Longest time to an answer; a request's own `timeout` may only be shorter."""
    elements: Count = 4 * 2**20
    """Most elements of one tensor."""
    depth: Annotated[int, Field(ge=4, le=256)] = 32
    """Deepest nesting of a request's JSON."""
    pending_rows: Count = 100_000
    """Most rows that wait for one model; beyond it requests are refused until there is room."""
    log_rows: Count = 100_000
    """Most rows that wait until the broker has acknowledged them."""
    intake_bytes: Bytes = 64 * 2**20
    """Most bytes of events and labels that wait until the broker has acknowledged them."""
    extra_models: Count = 4
    """Most versions that are loaded because somebody asked for them, beside those that deployments declare."""


class Subscriptions(BaseModel):
    """Bounds of subscriptions to predictions."""

    model_config = FROZEN

    max_subscribers: Count = 1_000
    """Most subscribers of this gateway at a time."""
    max_catching_up: Count = 32
    """Most subscribers at a time that read the past, each with a consumer of its own."""
    max_topics: Count = 100
    """Most topics that are followed at a time, each by one consumer for all."""
    held_records: Count = 50_000
    """Newest predictions that are held for each topic; a subscriber that is further behind is dropped."""
    held_bytes: Bytes = 32 * 2**20
    """Bytes of them."""
    heartbeat_secs: Annotated[float, Field(gt=0)] = 15.0
    """After so long without a prediction a subscriber is sent its place, so that nobody takes silence for an end."""
    stall_secs: Annotated[float, Field(gt=0)] = 30.0
    """A subscriber that takes nothing for so long is dropped."""
    origins: tuple[str, ...] = ()
    """Sites whose pages may subscribe, as a browser's `Origin` names them; `*` for any. Pages of this gateway's own
    address always may."""


class UploadBounds(BaseModel):
    """Bounds of uploads to the blob store."""

    model_config = FROZEN

    max_bytes: Bytes = 16 * 2**30
    """Largest blob."""
    max_uploads: Count = 100
    """Most uploads that are begun and not finished; one that rests for a day is forgotten."""


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

    keys: KeyRule = KeyRule.NONE
    """`required`: callers show a key of `millrace keys`, as `Authorization: Bearer KEY` or `X-API-Key: KEY`, over gRPC
    as metadata of these names. Without TLS keys travel in clear."""
    oidc: OidcSettings | None = None
    """An identity provider whose tokens are taken beside keys, in the same headers; takes `keys` to be `required`."""
    tls: ServerTls | None = None
    """The certificate that the doors show, over HTTP, WebSocket and gRPC alike; without one they speak in clear."""
    rest: Rest = Rest()
    """Where HTTP is served."""
    grpc: Grpc = Grpc()
    """Where gRPC is served."""
    haproxy: Haproxy = Haproxy()
    """HAProxy in front of the workers of this machine."""
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that score; each model uses one at a time."""
    limits: Limits = Limits()
    """Bounds of requests and of what is in memory."""
    subscriptions: Subscriptions = Subscriptions()
    """Bounds of subscriptions to predictions."""
    uploads: UploadBounds = UploadBounds()
    """Bounds of uploads to the blob store."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.oidc is not None and self.keys is KeyRule.NONE:
            raise ValueError("oidc is set, and callers need no token: set keys to required")
        return self

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            RequestError: A variable has no such setting or no valid value; the error names the variable, not its value.
        """
        return read_environment(cls)
