"""Callers of the launcher: keys and tokens that hold, and those that are worth nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from millrace.core.clock import Clock
from millrace.core.control.keys import ApiKey, Role, digest_of, key_text
from millrace.process.admission import Doorkeeper
from millrace.process.oidc.settings import OidcSettings
from millrace.process.oidc.tokens import Tokens
from millrace.testing.clock import ManualClock
from millrace.testing.identity_provider import (
    AUDIENCE,
    ISSUER,
    ShownKeys,
    signed,
    signing_key,
    token_part,
    with_public_key_as_secret,
)

OWNER: Final = "the owner's secret"
NOW: Final = ManualClock().wall_ms()


def text_of(name: str) -> str:
    """The text of the key of this name."""
    return key_text(name, name[:1] * 43)


def key(name: str, role: Role) -> ApiKey:
    """A key of this role."""
    return ApiKey(name, role, digest_of(text_of(name)), NOW, "test")


class Known(dict[str, ApiKey]):
    """Keys by name."""

    find = dict.get

    @classmethod
    def of(cls, *keys: ApiKey) -> "Known":
        return cls({each.name: each for each in keys})


KNOWN: Final = Known.of(
    *(key(role.value, role) for role in Role),
    *(replace(key(f"expired-{role}", role), expires_ms=NOW) for role in Role),
    *(replace(key(f"revoked-{role}", role), revoked_ms=NOW - 1) for role in Role),
)
SIGNER, STRANGER, RETIRED = (signing_key(kid, "ES256") for kid in ("signer", "signer", "retired"))
LONG_SECS: Final = 10**8
"""No test of this file goes on for so long, by any clock."""
OIDC: Final = OidcSettings.model_validate(
    {"issuer": ISSUER, "audience": AUDIENCE, "roles": {role: role for role in Role}}
)


def claims(role: Role, **changes: object) -> Mapping[str, object]:
    """What a token says that opens what this role may, but for some changes."""
    now = NOW // 1000
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": role, "roles": [role], "exp": now + LONG_SECS, **changes}


def worthless_tokens(role: Role) -> Mapping[str, str]:
    """Tokens that would open what this role may, if they held."""
    now, holds = NOW // 1000, claims(role)
    return {
        "expired": signed(claims(role, exp=now - 31), SIGNER),
        "not yet valid": signed(claims(role, nbf=now + LONG_SECS), SIGNER),
        "revoked": signed(holds, RETIRED),
        "wrong audience": signed(claims(role, aud="somebody"), SIGNER),
        "wrong issuer": signed(claims(role, iss="https://somebody.test"), SIGNER),
        "wrong signature": signed(holds, STRANGER),
        "missing kid": signed(holds, SIGNER, kid=None),
        "wrong algorithm": with_public_key_as_secret(holds, SIGNER),
        "no algorithm": f"{token_part({'alg': 'none', 'kid': 'signer'})}.{token_part(holds)}.",
    }


WORTHLESS: Final[Mapping[str, str]] = {
    "none": "",
    "wrong": "Bearer " + key_text("admin", "x" * 43),
    "unknown": "Bearer " + text_of("nobody"),
    "no key": "Bearer password",
    "another scheme": f"Basic {text_of('admin')}",
    "not ASCII": "Bearer \u00fc",
    **{f"{state} {role}": f"Bearer {text_of(f'{state}-{role}')}" for state in ("expired", "revoked") for role in Role},
    **{f"{state} token of {role}": f"Bearer {text}" for role in Role for state, text in worthless_tokens(role).items()},
}


def doorkeeper(clock: Clock) -> Doorkeeper:
    """Who knows them all."""
    return Doorkeeper(KNOWN, clock=clock, owner=OWNER, tokens=Tokens(OIDC, ShownKeys.of(SIGNER)))


def holding(role: Role) -> Mapping[str, str]:
    """What opens what this role may, by whom the history names then."""
    return {f"key/{role}": text_of(role), f"token/{role}": signed(claims(role), SIGNER)}
