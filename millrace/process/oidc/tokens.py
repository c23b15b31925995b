"""Who a token says that its bearer is. The JOSE part is joserfc's; what is believed is decided here.

A token is believed if its header names an algorithm that is allowed and a key that the provider has, if that key has
signed it, and if it is the right issuer's, for the right audience, and of this time. Keys that the token itself brings
or names an address of (`jwk`, `jku`, `x5u`) are never looked at.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jwk import Key

from millrace.core.control.keys import TOKEN_CALLER, Caller, ForbiddenError, Role, UnknownCallerError
from millrace.process.oidc.settings import OidcSettings

_LONGEST_NAME: Final = 200
_REMEDY: Final = "get a new token of the identity provider"
_FAULTS: Final[Mapping[str, str]] = {
    "exp": "ends at no time",
    "nbf": "does not hold yet",
    "iat": "was made in the future",
    "iss": "is of another issuer",
    "aud": "is meant for somebody else",
}


class KeysById(Protocol):
    """Knows the provider's keys. See `millrace.process.oidc.signing_keys.SigningKeys`."""

    def find(self, kid: str) -> Key | None:
        """The key of this id; None where there is none. Does not wait.

        Raises:
            TransientError: What the provider's keys are is not known any more.
        """
        ...


class _Jws(jws.JWSRegistry):
    """Bounds of what is looked at. Parameters of a header that nobody knows are passed over, as RFC 7515 wants it."""

    max_header_length = 4_096
    max_payload_length = 16_384


class Tokens:
    """Recognises callers by tokens. See `millrace.process.admission.Tokens`. Thread-safe.

    Args:
        settings: What is believed.
        keys: The provider's.
    """

    def __init__(self, settings: OidcSettings, keys: KeysById) -> None:
        self._settings = settings
        self._keys = keys
        self._allowed = frozenset(each.value for each in settings.algorithms)
        self._registry = _Jws(algorithms=sorted(self._allowed), strict_check_header=False)

    def recognise(self, shown: str, now_ms: int) -> Caller:
        """See `millrace.process.admission.Tokens`."""
        claims = self._signed(shown)
        self._check(claims, now_ms)
        who = claims.get(self._settings.name_claim)
        if not isinstance(who, str) or not who.isprintable() or not 0 < len(who) <= _LONGEST_NAME:
            raise UnknownCallerError(
                "the token names nobody", remedy=f"have the provider write the claim {self._settings.name_claim}"
            )
        return Caller(f"{TOKEN_CALLER}{who}", self._role(claims, who))

    def _signed(self, shown: str) -> Mapping[str, Any]:
        """The claims of a token that one of the provider's keys has signed."""
        text = shown.encode()
        header = self._header(text)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._allowed:
            raise _refused("is signed with an algorithm that is not allowed")
        if not isinstance(kid, str):
            raise _refused("does not say which key has signed it")
        key = self._keys.find(kid)
        if key is None:
            raise _refused("is signed with a key that the identity provider does not show")
        with suppress(JoseError, ValueError, TypeError, RecursionError):
            return jwt.decode(text, key, registry=self._registry).claims
        raise _refused("is not signed by the key that it names")

    def _header(self, text: bytes) -> Mapping[str, Any]:
        # A stranger has written it: what the library cannot make of it, it says in many ways.
        with suppress(JoseError, ValueError, TypeError, RecursionError):
            header = jws.extract_compact(text, registry=self._registry).headers()
            if isinstance(header, dict):
                return header
        raise _refused("is none that is signed")

    def _check(self, claims: Mapping[str, Any], now_ms: int) -> None:
        settings = self._settings
        expected = jwt.JWTClaimsRegistry(
            now=now_ms // 1000,
            leeway=settings.leeway_secs,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.audience},
            exp={"essential": True},
        )
        try:
            expected.validate(dict(claims))
        except MissingClaimError as error:
            raise _refused(f"does not say: {error.claim}") from None
        except ExpiredTokenError:
            raise _refused("has expired") from None
        except ClaimError as error:
            raise _refused(_FAULTS.get(error.claim, f"says something wrong: {error.claim}")) from None

    def _role(self, claims: Mapping[str, Any], who: str) -> Role:
        """The highest role that the claims give.

        Raises:
            ForbiddenError: They give none.
        """
        settings = self._settings
        named = _words(_found(claims, settings.roles_claim))
        roles = [settings.roles[each] for each in named if each in settings.roles]
        if not roles:
            raise ForbiddenError(
                f"{TOKEN_CALLER}{who} has no role here",
                remedy=f"have the provider write a value of oidc.roles into the claim {settings.roles_claim}",
            )
        return max(roles, key=list(Role).index)


def _refused(why: str) -> UnknownCallerError:
    return UnknownCallerError(f"the token {why}", remedy=_REMEDY)


def _found(claims: Mapping[str, Any], path: str) -> object:
    """The claim of this name, or else what the parts of the name lead to."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _words(value: object) -> list[str]:
    """The texts of a list, or the words of a text."""
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
