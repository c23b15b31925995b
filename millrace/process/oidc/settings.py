"""Which identity provider a door believes, and what its tokens open."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, model_validator

from millrace.core.control.keys import Role
from millrace.process.settings import FROZEN, web_address


class Algorithm(StrEnum):
    """What a token may be signed with. All have a private and a public key: who can check a token can make none."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    ED25519 = "Ed25519"


class OidcSettings(BaseModel):
    """An identity provider, of OpenID Connect, whose tokens a door takes beside its keys."""

    model_config = FROZEN

    issuer: Annotated[str, web_address("https://HOST/PATH")]
    """The provider, exactly as its tokens name it (`iss`)."""
    audience: Annotated[str, Field(min_length=1)]
    """Whom tokens must be meant for (`aud`): the name that the provider knows this door by."""
    jwks_url: Annotated[str, web_address("https://HOST/PATH")] | None = None
    """Where the provider shows its signing keys; what `<issuer>/.well-known/openid-configuration` says where absent."""
    ca: Path | None = None
    """File of the authorities that may sign the provider's certificate; the system's where absent."""
    allow_private_hosts: bool = False
    """Whether the provider may lie in a private network, and may be asked by `http://`."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = (Algorithm.RS256, Algorithm.ES256)
    """What tokens may be signed with, as JSON: `["RS256"]`."""
    name_claim: str = "sub"
    """The claim that names the caller in the history."""
    roles_claim: str = "roles"
    """The claim that holds a caller's roles, a list or words; dots lead into it: `realm_access.roles`."""
    roles: Annotated[dict[str, Role], Field(min_length=1)]
    """What values of that claim open, as JSON: `{"millrace-ops": "operator"}`. The highest role counts."""
    leeway_secs: Annotated[int, Field(ge=0, le=300)] = 30
    """How far the clocks of provider and door may differ."""
    refresh_secs: Annotated[float, Field(ge=1, le=86_400)] = 300
    """How often the provider is asked for its keys: tokens of one that it has taken back open nothing from then on."""
    retry_secs: Annotated[float, Field(ge=0.1, le=3_600)] = 10
    """Least time between two questions, however many tokens name keys that nobody knows."""
    hold_secs: Annotated[float, Field(ge=1, le=604_800)] = 3_600
    """So long the last keys hold while the provider does not answer; then no token opens anything."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        addresses = filter(None, (self.issuer, self.jwks_url))
        if not self.allow_private_hosts and not all(urlsplit(each).scheme == "https" for each in addresses):
            raise ValueError("write https://; http:// takes allow_private_hosts")
        if not self.retry_secs <= self.refresh_secs <= self.hold_secs:
            raise ValueError("retry_secs must not be more than refresh_secs, and that not more than hold_secs")
        return self
