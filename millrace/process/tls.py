"""Certificates of the doors over HTTP and gRPC: what a door shows, and whom its clients trust.

TLS 1.2 is the oldest that is spoken. Files are read when a context is made; a certificate that was renewed is used from
the next start.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, model_validator

from millrace.core.errors import RequestError

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class PemTexts:
    """What a door shows, for a library that wants texts and no files.

    Attributes:
        key: The private key. Do not log it.
        certificate: The certificate, and those that lead from it to an authority.
        client_ca: Authorities of clients; None where clients need no certificate.
    """

    key: bytes
    certificate: bytes
    client_ca: bytes | None


class ServerTls(BaseModel):
    """The certificate that a door shows, and whether it asks its clients for one."""

    model_config = _FROZEN

    certificate: Path
    """The certificate and, after it, those that lead from it to an authority; PEM."""
    key: Path | None = None
    """Private key of `certificate`, without a password; where absent, it lies in the same file."""
    client_ca: Path | None = None
    """File of the authorities that sign the certificates of clients. With it, whoever shows none is turned away."""

    def context(self) -> ssl.SSLContext:
        """What a server needs.

        Raises:
            RequestError: A file cannot be read, is no PEM, or key and certificate do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_identity(context, self.certificate, self.key)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            _load_authorities(context, self.client_ca, "tls.client_ca")
        return context

    def texts(self) -> PemTexts:
        """What these files hold; checked, and raises, as `context`."""
        self.context()
        key = (self.key or self.certificate).read_bytes()
        return PemTexts(key, self.certificate.read_bytes(), self.client_ca.read_bytes() if self.client_ca else None)

    def own_client(self, shown: "ClientTls") -> ssl.SSLContext:
        """What the process of the door needs to ask it: it trusts this certificate alone, by whatever name.

        Args:
            shown: The certificate that it shows, where the door asks for one.

        Raises:
            RequestError: A file cannot be read, or is no PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # It is asked on the loopback, which its certificate need not name.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _load_authorities(context, self.certificate, "tls.certificate")
        shown.load_identity(context)
        return context


class ClientTls(BaseModel):
    """How a client of a launcher meets a door that speaks TLS: commands, programs, and other launchers."""

    model_config = _FROZEN

    ca: Path | None = None
    """File of the authorities that may sign the door's certificate; the system's where absent."""
    certificate: Path | None = None
    """This client's certificate, where the door asks for one; PEM."""
    key: Path | None = None
    """Private key of `certificate`, without a password; where absent, it lies in the same file."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.key is not None and self.certificate is None:
            raise ValueError("tls.key is set and tls.certificate is not")
        return self

    def context(self) -> ssl.SSLContext:
        """What a client needs.

        Raises:
            RequestError: A file cannot be read, is no PEM, or key and certificate do not belong together.
        """
        if self.ca is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load_authorities(context, self.ca, "tls.ca")
        else:
            context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.load_identity(context)
        return context

    def load_identity(self, context: ssl.SSLContext) -> None:
        """Let a context show this client's certificate, where it has one; raises as `context`."""
        if self.certificate is not None:
            _load_identity(context, self.certificate, self.key)


def pem_file(path: Path | None, setting: str) -> str | None:
    """Where a file of PEM lies; libraries would say about a missing one no more than that they failed.

    Raises:
        RequestError: It cannot be read, or is no PEM.
    """
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(
            f"the file {path} of {setting} cannot be read: {error.strerror}",
            remedy="check its path and who may read it",
        ) from error
    if b"-----BEGIN " not in content:
        raise RequestError(f"the file {path} of {setting} is not PEM", remedy="convert it with openssl")
    return str(path)


def refusal_of(error: BaseException, place: str) -> RequestError | None:
    """What to tell a person where a connection failed for its certificates; None where it failed for something else.

    Args:
        error: What the connection ended with.
        place: Where it led.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    if seen is None or isinstance(seen, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return None  # Who only hangs up may be back soon.
    if isinstance(seen, ssl.SSLCertVerificationError):
        return RequestError(
            f"the certificate of {place} is not trusted: {seen.verify_message}",
            remedy="set MILLRACE_TLS__CA to the file of the authority that signed it, and ask for a name that is in it",
        )
    reason = (seen.reason or str(seen)).lower().replace("_", " ")
    if "certificate" in reason or "unknown ca" in reason:
        return RequestError(
            f"{place} does not trust this client: {reason}",
            remedy="set MILLRACE_TLS__CERTIFICATE and __KEY to a certificate that it trusts",
        )
    return RequestError(f"no secure connection to {place}: {reason}", remedy="write http:// where it speaks no TLS")


def _load_identity(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    pem_file(certificate, "tls.certificate")
    pem_file(key, "tls.key")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        where = f"{certificate} and {key}" if key else str(certificate)
        raise RequestError(
            f"the certificate and its key do not fit ({where}): {_why(error)}",
            remedy="name a certificate and the private key that belongs to it, not encrypted, both PEM",
        ) from None


def _load_authorities(context: ssl.SSLContext, file: Path, setting: str) -> None:
    pem_file(file, setting)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise RequestError(
            f"the file {file} of {setting} holds no certificates: {_why(error)}",
            remedy="name a PEM file of the authorities' certificates",
        ) from None


def _no_password() -> str:
    """Instead of a question on the terminal of whoever starts a daemon."""
    return ""


def _why(error: ssl.SSLError) -> str:
    return (error.reason or "it cannot be read").lower().replace("_", " ")
