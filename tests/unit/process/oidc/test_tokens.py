"""Which tokens are believed, and what they open."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from joserfc import jwe, jwk

from millrace.core.control.keys import Caller, ForbiddenError, Role, UnknownCallerError
from millrace.process.oidc.settings import OidcSettings
from millrace.process.oidc.tokens import Tokens
from millrace.testing.identity_provider import (
    AUDIENCE,
    ISSUER,
    ShownKeys,
    signed,
    signing_key,
    token_part,
    with_public_key_as_secret,
)

NOW: Final = 1_700_000_000
RSA: Final = signing_key("rsa")
CURVE: Final = signing_key("curve", "ES256")
EDWARDS: Final = signing_key("edwards", "Ed25519")
STRANGER: Final = signing_key("rsa")
"""Has the id of the provider's key, and is another one."""
HOLDS: Final[Mapping[str, Any]] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "kay",
    "iat": NOW - 10,
    "exp": NOW + 600,
    "roles": ["staff", "millers"],
}


def tokens(**changes: object) -> Tokens:
    settings = {"issuer": ISSUER, "audience": AUDIENCE, "roles": {"millers": "operator", "owners": "admin"}, **changes}
    return Tokens(OidcSettings.model_validate(settings), ShownKeys.of(RSA, CURVE, EDWARDS))


def recognise(shown: str, **changes: object) -> Caller:
    return tokens(**changes).recognise(shown, NOW * 1000)


def token(key: jwk.Key = RSA, header: Mapping[str, object] | None = None, **claims: object) -> str:
    """A token that holds, but for what is said here; a claim that is None is not there."""
    said = {name: value for name, value in {**HOLDS, **claims}.items() if value is not None}
    return signed(said, key, **(header or {}))


def by_hand(header: object, signature: str = "") -> str:
    return f"{token_part(header)}.{token_part(HOLDS)}.{signature}"


def tampered() -> str:
    head, _, signature = token().split(".")
    return f"{head}.{token_part({**HOLDS, 'roles': ['owners']})}.{signature}"


def encrypted() -> str:
    key = jwk.OctKey.generate_key(256)
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, b"{}", key)


def with_its_own_key() -> str:
    return token(STRANGER, {"jwk": STRANGER.as_dict(private=False), "kid": "rsa"})


WORTHLESS: Final[Mapping[str, tuple[Callable[[], str], str]]] = {
    "expired": (lambda: token(exp=NOW - 31), "has expired"),
    "without an end": (lambda: token(exp=None), "does not say: exp"),
    "an end that is no time": (lambda: token(exp="never"), "ends at no time"),
    "an end that is no number": (lambda: token(exp=float("nan")), "ends at no time"),
    "not yet valid": (lambda: token(nbf=NOW + 31), "does not hold yet"),
    "made in the future": (lambda: token(iat=NOW + 31), "was made in the future"),
    "wrong audience": (lambda: token(aud="somebody"), "is meant for somebody else"),
    "wrong audiences": (lambda: token(aud=["somebody", "millrace2"]), "is meant for somebody else"),
    "without an audience": (lambda: token(aud=None), "does not say: aud"),
    "wrong issuer": (lambda: token(iss=f"{ISSUER}/"), "is of another issuer"),
    "without an issuer": (lambda: token(iss=None), "does not say: iss"),
    "a subject that is no text": (lambda: token(sub=7), "says something wrong: sub"),
    "algorithm none": (lambda: by_hand({"alg": "none", "kid": "rsa"}), "an algorithm that is not allowed"),
    "algorithm none in capitals": (lambda: by_hand({"alg": "nOnE", "kid": "rsa"}), "algorithm that is not allowed"),
    "HS256 with the public key": (lambda: with_public_key_as_secret(HOLDS, RSA), "an algorithm that is not allowed"),
    "asymmetric and not allowed": (lambda: token(RSA, {"alg": "PS256"}), "an algorithm that is not allowed"),
    "algorithm that is no text": (lambda: by_hand({"alg": ["RS256"], "kid": "rsa"}), "that is not allowed"),
    "another key's algorithm": (lambda: token(CURVE, {"kid": "rsa"}), "is not signed by the key that it names"),
    "missing kid": (lambda: token(RSA, {"kid": None}), "does not say which key"),
    "unknown kid": (lambda: token(signing_key("gone")), "a key that the identity provider does not show"),
    "another key of the same id": (lambda: token(STRANGER), "is not signed by the key that it names"),
    "a key of its own": (with_its_own_key, "is not signed by the key that it names"),
    "tampered": (tampered, "is not signed by the key that it names"),
    "not signed": (lambda: token().rpartition(".")[0] + ".", "is not signed by the key that it names"),
    "an unknown extension that is critical": (lambda: token(RSA, {"crit": ["x"], "x": 1}), "not signed by the key"),
    "encrypted": (encrypted, "is none that is signed"),
    "a header that is no object": (lambda: by_hand(["alg"]), "is none that is signed"),
    "a deep header": (lambda: "W1tb" * 1000 + ".e30.", "is none that is signed"),
    "a long header": (lambda: token(RSA, {"x": "x" * 5000}), "is none that is signed"),
    "long claims": (lambda: token(x="x" * 20_000), "is none that is signed"),
    "nobody": (lambda: token(sub=None), "names nobody"),
    "a name of several lines": (lambda: token(sub="kay\nkey/ops"), "names nobody"),
    "a long name": (lambda: token(sub="k" * 201), "names nobody"),
}


@pytest.mark.parametrize("case", WORTHLESS)
def test_what_does_not_hold_is_refused_and_says_why(case: str) -> None:
    make, why = WORTHLESS[case]
    shown = make()
    with pytest.raises(UnknownCallerError, match=re.escape(why)) as refused:
        recognise(shown)
    assert shown not in str(refused.value)


@pytest.mark.parametrize("key", [RSA, CURVE], ids=["RSA", "curve"])
def test_a_token_that_holds_names_its_bearer_and_his_role(key: jwk.Key) -> None:
    assert recognise(token(key)) == Caller("token/kay", Role.OPERATOR)


def test_clocks_may_differ_a_little() -> None:
    assert recognise(token(exp=NOW - 29, nbf=NOW + 30, iat=NOW + 30)).who == "token/kay"
    with pytest.raises(UnknownCallerError, match="has expired"):
        recognise(token(exp=NOW), leeway_secs=0)


def test_a_token_may_be_meant_for_several() -> None:
    assert recognise(token(aud=["another", AUDIENCE])).role is Role.OPERATOR


def test_an_algorithm_is_allowed_by_its_name() -> None:
    assert recognise(token(EDWARDS), algorithms=["Ed25519"]).who == "token/kay"
    with pytest.raises(UnknownCallerError, match="not allowed"):
        recognise(token(RSA), algorithms=["Ed25519"])


def test_the_highest_role_counts_and_nobody_has_one_by_himself() -> None:
    assert recognise(token(roles=["owners", "millers"])).role is Role.ADMIN
    assert recognise(token(roles="staff millers")).role is Role.OPERATOR
    for none in (None, [], ["staff"], "admin", 7, {"millers": True}, [["millers"]]):
        with pytest.raises(ForbiddenError, match="token/kay has no role here"):
            recognise(token(roles=none))


def test_claims_are_found_by_name_or_by_the_way_to_them() -> None:
    nested = token(roles=None, realm_access={"roles": ["owners"]})
    assert recognise(nested, roles_claim="realm_access.roles").role is Role.ADMIN
    named = signed({**HOLDS, "roles": [], "https://mill.test/roles": ["owners"]}, RSA)
    assert recognise(named, roles_claim="https://mill.test/roles").role is Role.ADMIN
    assert recognise(token(email="kay@mill.test"), name_claim="email").who == "token/kay@mill.test"
