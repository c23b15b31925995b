"""Settings that every process of millrace reads the same way, from `MILLRACE_*` environment variables.

Values are resolved once, at the start, into frozen models; below a composition root nothing reads the environment.
Nested names are joined by two underscores: `MILLRACE_KAFKA__BOOTSTRAP=broker:9092`.
"""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from millrace.core.errors import RequestError
from millrace.process.refusal import KeyPath, refusal
from millrace.process.tls import ClientTls, pem_file

AnySettings = TypeVar("AnySettings", bound=BaseSettings)

ClientConfig: TypeAlias = dict[str, str | int | float | bool]
"""Settings of a Kafka client by librdkafka's keys."""

FROZEN: Final = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
"""How every settings model behaves: values never change, unknown keys are refused, docstrings are descriptions."""


class SecurityProtocol(StrEnum):
    """How a client talks to the broker."""

    PLAINTEXT = "plaintext"
    SSL = "ssl"
    SASL_PLAINTEXT = "sasl_plaintext"
    SASL_SSL = "sasl_ssl"


class SaslMechanism(StrEnum):
    """How a client proves who it is."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"
    GSSAPI = "GSSAPI"


PASSWORD_MECHANISMS: Final = frozenset({SaslMechanism.PLAIN, SaslMechanism.SCRAM_SHA_256, SaslMechanism.SCRAM_SHA_512})
"""The mechanisms that need a user name and a password; OAUTHBEARER has settings of its own, Kerberos has none."""


def _check_bootstrap(value: str) -> str:
    for address in value.split(","):
        host, colon, port = address.strip().rpartition(":")
        if "//" in address or not (colon and host and port.isdecimal() and 0 < int(port) < 2**16):
            raise ValueError(f"{address.strip()!r} is not HOST:PORT; write for example broker-1:9092,broker-2:9092")
    return value


def web_address(example: str) -> AfterValidator:
    """Takes an address of the web without credentials, and shows how one looks where it is something else."""

    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
            raise ValueError(f"write {example}, without a user name or a password")
        return value

    return AfterValidator(check)


class OAuthSettings(BaseModel):
    """Where a client gets the tokens that it signs in with: OAuth 2, by client credentials."""

    model_config = FROZEN

    token_url: Annotated[str, web_address("https://HOST/PATH")]
    """The token endpoint of the identity provider."""
    client_id: str
    """Who this client is to the identity provider."""
    client_secret: SecretStr | None = None
    """What it proves that with. Never shown."""
    client_secret_file: Path | None = None
    """File that holds the secret, instead of `client_secret`; read whenever a client is made."""
    scope: str | None = None
    """What is asked for, where the provider wants to hear it."""
    ca: Path | None = None
    """File of the authorities that may sign the provider's certificate; the system's where absent."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.client_secret is None) == (self.client_secret_file is None):
            raise ValueError("write one of client_secret and client_secret_file")
        return self

    def secret(self) -> str:
        """The client's secret in clear: do not log it.

        Raises:
            RequestError: Its file cannot be read.
        """
        return _secret(self.client_secret, self.client_secret_file) or ""

    def client(self) -> dict[str, str | None]:
        """The settings as librdkafka's keys; raises as `secret`."""
        return {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": self.token_url,
            "sasl.oauthbearer.client.id": self.client_id,
            "sasl.oauthbearer.client.secret": self.secret(),
            "sasl.oauthbearer.scope": self.scope,
            "https.ca.location": pem_file(self.ca, "oauth.ca"),
        }


class KafkaSettings(BaseModel):
    """How to reach the Kafka cluster. One of these makes every client of a process."""

    model_config = FROZEN

    bootstrap: Annotated[str, AfterValidator(_check_bootstrap)]
    """Brokers to ask first, `host:port`, separated by commas. One that answers is enough."""
    client_id: str = "millrace"
    """Name under which the broker's logs and quotas know this process."""
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """Whether the connection is encrypted (`ssl`) and whether the client signs in (`sasl`)."""
    sasl_mechanism: SaslMechanism | None = None
    """How the client signs in; needed with a `sasl_*` protocol and refused without."""
    sasl_username: str | None = None
    """User name for PLAIN and SCRAM."""
    sasl_password: SecretStr | None = None
    """Password for PLAIN and SCRAM. Never shown."""
    sasl_password_file: Path | None = None
    """File that holds the password, instead of `sasl_password`; read whenever a client is made."""
    oauth: OAuthSettings | None = None
    """Where the tokens for OAUTHBEARER come from."""
    ssl_ca: Path | None = None
    """File of the authorities that may sign the broker's certificate; the system's where absent."""
    ssl_certificate: Path | None = None
    """This client's certificate, where the broker asks for one."""
    ssl_key: Path | None = None
    """Private key of `ssl_certificate`."""
    ssl_key_password: SecretStr | None = None
    """Password of `ssl_key`. Never shown."""
    ssl_key_password_file: Path | None = None
    """File that holds the password of `ssl_key`, instead of `ssl_key_password`."""
    ssl_verify_hostname: bool = True
    """Whether the broker's certificate must name the host that was asked for."""
    properties: Annotated[dict[str, str], Field(repr=False)] = {}
    """Further keys of librdkafka as they are, for what has no name here (Kerberos). Never shown."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        signs_in = self.security_protocol in {SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL}
        if signs_in and self.sasl_mechanism is None:
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_mechanism")
        if not signs_in and (self.sasl_mechanism or self.sasl_username):
            raise ValueError("sasl_* is set but security_protocol is not sasl_plaintext or sasl_ssl")
        if self.sasl_mechanism in PASSWORD_MECHANISMS:
            if not self.sasl_username:
                raise ValueError(f"sasl_mechanism {self.sasl_mechanism} needs sasl_username")
            if (self.sasl_password is None) == (self.sasl_password_file is None):
                raise ValueError("write one of sasl_password and sasl_password_file")
        if self.oauth is not None and self.sasl_mechanism is not SaslMechanism.OAUTHBEARER:
            raise ValueError("oauth is set but sasl_mechanism is not OAUTHBEARER")
        if self.ssl_key_password and self.ssl_key_password_file:
            raise ValueError("write one of ssl_key_password and ssl_key_password_file")
        if named := _NAMED_KEYS & self.properties.keys():
            raise ValueError(f"properties must not set {', '.join(sorted(named))}: these have settings of their own")
        return self

    def client(self, **extra: str | int | float | bool) -> ClientConfig:
        """The settings as librdkafka's keys, with `extra` keys added; what is absent here is absent there.

        Use as `consumer = Consumer(kafka.client(**{"group.id": group}))`. Secrets are in clear in what comes back: do
        not log it.

        Raises:
            RequestError: A file of a password, a certificate or a key cannot be read.
        """
        config: dict[str, str | None] = {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "security.protocol": self.security_protocol.value,
            "sasl.mechanism": self.sasl_mechanism.value if self.sasl_mechanism else None,
            "sasl.username": self.sasl_username,
            "sasl.password": _secret(self.sasl_password, self.sasl_password_file),
            **(self.oauth.client() if self.oauth else {}),
            "ssl.ca.location": pem_file(self.ssl_ca, "ssl_ca"),
            "ssl.certificate.location": pem_file(self.ssl_certificate, "ssl_certificate"),
            "ssl.key.location": pem_file(self.ssl_key, "ssl_key"),
            "ssl.key.password": _secret(self.ssl_key_password, self.ssl_key_password_file),
            "ssl.endpoint.identification.algorithm": None if self.ssl_verify_hostname else "none",
        }
        present = {key: value for key, value in config.items() if value is not None}
        return {**present, **self.properties, **extra}


_NAMED_KEYS: Final = frozenset(
    {
        "bootstrap.servers",
        "client.id",
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
    }
)


def _check_redis_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("write redis://HOST:PORT/DATABASE, or rediss:// where the connection is encrypted")
    if parts.username or parts.password:
        raise ValueError("the URL must not hold a user name or a password: these have settings of their own")
    if not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
        raise ValueError(f"{parts.path.strip('/')!r} is not the number of a database")
    return value


class RedisSettings(BaseModel):
    """How to reach the online store: Redis 6.2 or newer, or Valkey."""

    model_config = FROZEN

    url: Annotated[str, AfterValidator(_check_redis_url)]
    """`redis://HOST:PORT/DATABASE`; `rediss://` where the connection is encrypted."""
    username: str | None = None
    """User name, where the server has users."""
    password: SecretStr | None = None
    """Password. Never shown."""
    password_file: Path | None = None
    """File that holds the password, instead of `password`; read when a client is made."""
    ssl_ca: Path | None = None
    """File of the authorities that may sign the server's certificate; the system's where absent."""
    ssl_certificate: Path | None = None
    """This client's certificate, where the server asks for one."""
    ssl_key: Path | None = None
    """Private key of `ssl_certificate`."""
    ssl_verify_hostname: bool = True
    """Whether the server's certificate must name the host that was asked for."""
    connect_timeout_ms: Annotated[int, Field(ge=1)] = 1_000
    """Longest wait for a connection."""
    timeout_ms: Annotated[int, Field(ge=1)] = 5_000
    """Longest wait for one answer. A batch of thousands of values takes milliseconds; a server that forks, longer."""
    namespace: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=100)] = "millrace"
    """First part of every key, for a server that holds the tables of more than one Kafka cluster."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.password and self.password_file:
            raise ValueError("write one of password and password_file")
        return self

    def secret(self) -> str | None:
        """The password in clear: do not log it.

        Raises:
            RequestError: The password file cannot be read.
        """
        return _secret(self.password, self.password_file)


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    """For people on a terminal, JSON elsewhere."""
    JSON = "json"
    """One JSON object a line."""
    CONSOLE = "console"
    """For people."""


class LogSettings(BaseModel):
    """What is logged, and how it looks. Logs go to standard error."""

    model_config = FROZEN

    level: LogLevel = LogLevel.INFO
    """The least severe line that is written."""
    format: LogFormat = LogFormat.AUTO
    """How lines look; `auto` means for people on a terminal and JSON elsewhere."""


class HealthSettings(BaseModel):
    """Where `/livez`, `/readyz` and `/metrics` are served."""

    model_config = FROZEN

    host: str = "127.0.0.1"
    """Address to listen on. Loopback by default, because nothing asks who is calling; `0.0.0.0` in a container."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port to listen on; 0 takes a free one, which the log's first line names."""


class TraceSettings(BaseModel):
    """Where traces go."""

    model_config = FROZEN

    endpoint: Annotated[str, web_address("http://HOST:4318/v1/traces")] | None = None
    """Where scorers and gateways send spans, by OTLP over HTTP: `http://HOST:4318/v1/traces`. Absent, none are made.
    Needs `millrace[traces]`."""


class LaneBody(StrEnum):
    """What moves records between Kafka and columns."""

    PYTHON = "python"
    """confluent-kafka, a Python object for each record."""
    NATIVE = "native"
    """The compiled body; a process does not start where it is not built."""
    AUTO = "auto"
    """The compiled body where it is built, else Python."""


class LaunchSettings(BaseModel):
    """Which process of a launcher this one is. The launcher says it; nobody sets it by hand."""

    model_config = FROZEN

    node: str
    """The node that runs it."""
    slot: str
    """Its place, such as `rain/scorer/0`."""
    number: Annotated[int, Field(ge=0)]
    """Which process of the slot."""
    environment: str
    """Fingerprint of what is installed on the node."""


class Settings(BaseSettings):
    """What the environment says to a process of millrace."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        env_prefix="MILLRACE_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    kafka: KafkaSettings | None = None
    """How to reach Kafka; absent where the process has another way to know, such as the local broker's own file."""
    redis: RedisSettings | None = None
    """How to reach the online store; absent where none is used, or where `millrace up --redis` started a local one."""
    home: Annotated[Path, AfterValidator(Path.expanduser)] = Field(default_factory=lambda: Path.home() / ".millrace")
    """Folder of the local broker's data and of model files; `~/.millrace` where absent."""
    blobs: str | None = None
    """Where all machines keep model files, as any URI that fsspec knows; `<home>/blobs` where absent."""
    tls: ClientTls = ClientTls()
    """How this process, as the client of a launcher, meets one that speaks TLS."""
    lane: LaneBody = LaneBody.PYTHON
    """What moves a scorer's records between Kafka and columns; `millrace doctor` says what `auto` comes to."""
    log: LogSettings = LogSettings()
    """What is logged, and how it looks."""
    health: HealthSettings = HealthSettings()
    """Where health and metrics are served."""
    traces: TraceSettings = TraceSettings()
    """Where traces go."""
    launch: LaunchSettings | None = None
    """Which process of a launcher this one is; absent where it was started by hand."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            RequestError: A variable has no such setting or no valid value; the error names the variable, not its value.
        """
        return read_environment(cls)


def read_environment(kind: type[AnySettings]) -> AnySettings:
    """Read settings of a kind from the environment, by the prefix of its `model_config`.

    Raises:
        RequestError: A variable has no such setting or no valid value; the error names the variable, not its value.
    """
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        raise refusal(error, subject="the environment", name=partial(variable_name, prefix)) from None
    except SettingsError as error:
        raise RequestError(f"the environment: {error}", remedy="write lists and maps as JSON") from None


def variable_name(prefix: str, path: KeyPath) -> str:
    """The environment's variable of a setting, as people write it: `MILLRACE_HEALTH__PORT`."""
    return prefix + "__".join(map(str, path)).upper()


def _secret(value: SecretStr | None, file: Path | None) -> str | None:
    if file is None:
        return None if value is None else value.get_secret_value()
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RequestError(
            f"the password file {file} cannot be read: {reason}", remedy="check its path and who may read it"
        ) from error
