"""Certificates and keys: what is wrong with them is said in one line, and a connection's end is told apart."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from millrace.core.errors import RequestError
from millrace.process.settings import Settings
from millrace.process.tls import ClientTls, ServerTls, refusal_of
from millrace.testing.certificates import Authority, Identity


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Authority(tmp_path, "authority").issue("door")


def lock(identity: Identity, password: bytes) -> Path:
    key = serialization.load_pem_private_key(identity.key.read_bytes(), None)
    form = serialization.PrivateFormat.PKCS8
    locked = identity.key.with_suffix(".locked")
    locked.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(password))
    )
    return locked


def test_the_oldest_protocol_is_tls_1_2(identity: Identity) -> None:
    server = ServerTls(certificate=identity.certificate, key=identity.key).context()
    client = ClientTls(ca=identity.certificate).context()
    assert server.minimum_version is client.minimum_version is ssl.TLSVersion.TLSv1_2
    assert server.verify_mode is ssl.CERT_NONE


def test_an_authority_of_clients_makes_their_certificates_required(identity: Identity) -> None:
    asks = ServerTls(certificate=identity.certificate, key=identity.key, client_ca=identity.certificate)
    assert asks.context().verify_mode is ssl.CERT_REQUIRED
    assert asks.texts().client_ca == identity.certificate.read_bytes()


def test_certificate_and_key_may_lie_in_one_file(identity: Identity, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
    assert ServerTls(certificate=both).texts().key == both.read_bytes()


def test_what_is_wrong_with_a_file_is_said_in_one_line(identity: Identity, tmp_path: Path) -> None:
    text, empty = tmp_path / "text.pem", tmp_path / "empty.pem"
    text.write_text("no certificate")
    empty.write_text("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
    other = Authority(tmp_path / "other", "other").issue("other")
    good = {"certificate": identity.certificate, "key": identity.key}
    cases = (
        ({**good, "certificate": tmp_path / "absent.pem"}, "tls.certificate cannot be read"),
        ({**good, "key": tmp_path / "absent.key"}, "tls.key cannot be read"),
        ({**good, "certificate": text}, "tls.certificate is not PEM"),
        ({**good, "key": other.key}, "do not fit"),
        ({**good, "key": lock(identity, b"hush")}, "do not fit"),
        ({"certificate": identity.certificate}, "do not fit"),
        ({**good, "client_ca": empty}, "tls.client_ca holds no certificates"),
        ({**good, "client_ca": text}, "tls.client_ca is not PEM"),
    )
    for settings, says in cases:
        with pytest.raises(RequestError) as refused:
            ServerTls.model_validate(settings).context()
        assert says in refused.value.message
        assert refused.value.remedy
        assert "\n" not in str(refused.value)


def test_a_key_of_no_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="certificate is not"):
        ClientTls(key=tmp_path / "me.key")


def test_the_environment_names_whom_clients_trust(monkeypatch: pytest.MonkeyPatch, identity: Identity) -> None:
    monkeypatch.setenv("MILLRACE_TLS__CA", str(identity.certificate))
    assert Settings.load().tls == ClientTls(ca=identity.certificate)


def failed(cause: Exception) -> Exception:
    """An error as a client's library raises it."""
    try:
        raise ConnectionError("it failed") from cause
    except ConnectionError as error:
        return error


def test_a_connection_that_failed_for_its_certificates_is_no_transient_error() -> None:
    untrusted = ssl.SSLCertVerificationError(1, "no")
    untrusted.verify_message = "self-signed certificate"
    asked = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    asked.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    clear = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    clear.reason = "WRONG_VERSION_NUMBER"
    for cause, says, remedy in (
        (untrusted, "is not trusted: self-signed", "MILLRACE_TLS__CA"),
        (asked, "does not trust this client", "MILLRACE_TLS__CERTIFICATE"),
        (clear, "wrong version number", "http://"),
    ):
        refusal = refusal_of(failed(cause), "the door")
        assert refusal is not None
        assert says in refusal.message
        assert remedy in (refusal.remedy or "")


def test_who_only_hangs_up_may_be_back() -> None:
    assert refusal_of(failed(ssl.SSLEOFError(8, "EOF")), "the door") is None
    assert refusal_of(failed(OSError("refused")), "the door") is None


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, *, host: str) -> None:
    """A handshake without a network; raises what the client says of it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    asked = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, asked) * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert asking.version() is not None


def test_a_door_asks_itself_by_any_name_and_trusts_nobody_else(identity: Identity, tmp_path: Path) -> None:
    door = ServerTls(certificate=identity.certificate, key=identity.key)
    shake_hands(door.own_client(ClientTls()), door.context(), host="nobody.example")
    other = Authority(tmp_path / "other", "other").issue("door")
    stranger = ServerTls(certificate=other.certificate, key=other.key).context()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(door.own_client(ClientTls()), stranger, host="nobody.example")


def test_a_client_wants_the_name_that_it_asked_for(identity: Identity) -> None:
    server = ServerTls(certificate=identity.certificate, key=identity.key).context()
    client = ClientTls(ca=identity.certificate)
    shake_hands(client.context(), server, host="localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(client.context(), server, host="nobody.example")
