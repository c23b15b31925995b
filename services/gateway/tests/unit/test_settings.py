"""What the environment says to a gateway about who may come in."""

import pytest

from millrace.core.control.keys import Role
from millrace.core.errors import RequestError
from millrace_gateway.settings import GatewaySettings

OIDC = {
    "MILLRACE_GATEWAY__OIDC__ISSUER": "https://identity.test",
    "MILLRACE_GATEWAY__OIDC__AUDIENCE": "millrace",
    "MILLRACE_GATEWAY__OIDC__ROLES": '{"millers": "operator"}',
    "MILLRACE_GATEWAY__OIDC__ALGORITHMS": '["ES256"]',
}


def test_a_provider_is_named_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**OIDC, "MILLRACE_GATEWAY__KEYS": "required"}.items():
        monkeypatch.setenv(name, value)
    found = GatewaySettings.load().oidc
    assert found is not None
    assert (found.roles, [*found.algorithms]) == ({"millers": Role.OPERATOR}, ["ES256"])


def test_a_provider_with_open_doors_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OIDC.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match="set keys to required"):
        GatewaySettings.load()
