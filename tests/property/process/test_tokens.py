"""Whatever a stranger shows for a token, he is refused, and the door stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.core.control.keys import UnknownCallerError
from millrace.process.oidc.settings import OidcSettings
from millrace.process.oidc.tokens import Tokens
from millrace.testing.identity_provider import AUDIENCE, ISSUER, ShownKeys, signing_key, token_part

TOKENS = Tokens(
    OidcSettings.model_validate({"issuer": ISSUER, "audience": AUDIENCE, "roles": {"millers": "operator"}}),
    ShownKeys.of(signing_key("first")),
)
GOOD_HEADER = token_part({"alg": "RS256", "kid": "first"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64"]) | st.text(), inner),
)


@given(st.lists(st.text() | st.sampled_from(["e30", GOOD_HEADER]), min_size=3, max_size=3))
def test_no_text_is_more_than_refused(parts: list[str]) -> None:
    with pytest.raises(UnknownCallerError):
        TOKENS.recognise(".".join(parts), 0)


@given(JSON)
def test_no_header_is_more_than_refused(header: object) -> None:
    with pytest.raises(UnknownCallerError):
        TOKENS.recognise(f"{token_part(header)}.e30.AAAA", 0)


@given(st.dictionaries(st.sampled_from(["crit", "b64", "typ", "x5c", "jwk"]), JSON))
def test_no_addition_to_a_good_header_is_more_than_refused(additions: dict[str, object]) -> None:
    with pytest.raises(UnknownCallerError):
        TOKENS.recognise(f"{token_part({'alg': 'RS256', 'kid': 'first', **additions})}.e30.AAAA", 0)
