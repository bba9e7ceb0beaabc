"""TLS for our own listeners: contexts whose certificate changes without a restart, and its enrollment and renewal.

RFC 8446, RFC 5246 (older versions are refused), RFC 5929 (channel bindings). The certificate comes through the same
door as everybody's: the host's computer account enrolls for the template Machine (docs/adr/0005). Keys lie sealed in
the folder `tls/`, one name per generation: `listener-00001.key` with `listener-00001.pem`, the chain. A key without a
chain is an enrollment that was interrupted and is made again.
"""

from __future__ import annotations

import re
import secrets
import ssl
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.request import template_attributes
from certwright.keystores.base import KeyAlgorithm, KeyStoreError
from certwright.keystores.sealing import replace
from certwright.keystores.software import SoftwareKeyStore
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.channel_binding import tls_server_end_point
from certwright.pki.errors import EncodingError

log = structlog.get_logger(__name__)

TEMPLATE: Final = "Machine"
KEY_ALGORITHM: Final = KeyAlgorithm.RSA_2048
"""What every client can talk to, and what the template asks for."""
_NAME: Final = re.compile(r"listener-(\d{5})")
_BINDINGS: Final = "certwright_bindings"
_PEM_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ListenerCertificate:
    """One generation of our listeners' certificate."""

    name: str  # of the key
    chain: tuple[bytes, ...]  # DER, ours first
    not_before: datetime
    not_after: datetime

    @property
    def renew_after(self) -> datetime:
        """Two thirds of the lifetime."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3

    @property
    def binding(self) -> bytes:
        return tls_server_end_point(self.chain[0])


class ListenerCertificates:
    """The folder `tls/`. Any process may renew; the others notice by `current()`."""

    def __init__(self, folder: Path, keys: SoftwareKeyStore) -> None:
        self._folder = folder
        self._keys = keys

    def generations(self) -> list[ListenerCertificate]:
        """Every certificate here, the newest last.

        Raises:
            ConfigurationError: a chain file is damaged.
        """
        return [
            self._read(path) for path in sorted(self._folder.glob("listener-*.pem")) if _NAME.fullmatch(path.stem)
        ]

    def current(self) -> ListenerCertificate:
        """Raises:
        ConfigurationError: there is none.
        """
        generations = self.generations()
        if not generations:
            raise ConfigurationError(
                f"{self._folder} holds no certificate for the listeners; make one with: certwright tls renew"
            )
        return generations[-1]

    def enroll(self, door: CertRequest, crosses: Sequence[bytes] = ()) -> ListenerCertificate:
        """Make a key, have it certified through the door, and make it the current one; only one older stays.

        Args:
            crosses: certificates of the root by its earlier keys, sent in place of the self-signed one: clients that
                trust either find their way.

        Raises:
            AdcsError: the CA cannot be reached or refuses to take the request.
            ConfigurationError: the request was denied or waits for a certificate manager.
        """
        taken = [self._number(name) for name in (*self._keys.names(), *self._stems()) if _NAME.fullmatch(name)]
        name = f"listener-{max(taken, default=0) + 1:05}"
        key = self._keys.create(name, KEY_ALGORITHM)
        request = (
            x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key.private_key, hashes.SHA256())
        )
        try:
            response = door.submit(request.public_bytes(Encoding.DER), template_attributes(TEMPLATE))
            if not response.is_issued or response.certificate is None:
                raise ConfigurationError(
                    f"the listeners' own certificate was not issued (request {response.request_id}): "
                    f"{response.message}; the template {TEMPLATE} must let this host's account enroll"
                )
        except BaseException:
            self._keys.delete(name)
            raise
        issuers = _issuers(door)
        if crosses:
            issuers = (*(der for der in issuers if not CertificateView.parse(der).is_self_issued), *crosses)
        chain = (response.certificate, *issuers)
        replace(self._folder / f"{name}.pem", "".join(armor.armor("CERTIFICATE", der) for der in chain).encode())
        self._forget_old()
        certificate = self.current()
        log.info(
            "listener_certificate_enrolled", request_id=response.request_id, not_after=str(certificate.not_after)
        )
        return certificate

    def context(
        self,
        certificate: ListenerCertificate,
        previous: ListenerCertificate | None,
        client_cas: Sequence[bytes] = (),
        *,
        demanding: bool = False,
    ) -> ssl.SSLContext:
        """A server context that shows `certificate` and accepts channel bindings of `previous` too.

        A resumed session still carries the certificate it began with.

        Args:
            client_cas: as of `ServerTls`, as is `demanding`.

        Raises:
            ConfigurationError: the key does not open or does not fit.
        """
        context = _hardened(client_cas, demanding=demanding)
        try:
            key = self._keys.open(certificate.name)
        except KeyStoreError as error:
            raise ConfigurationError(f"the listeners' key: {error}") from error
        passphrase = secrets.token_hex(32)
        # OpenSSL takes keys from files only. This one is encrypted for once, and gone before anybody connects.
        with tempfile.TemporaryDirectory(prefix="certwright-") as folder:
            key_file, chain_file = Path(folder, "key"), Path(folder, "chain")
            encryption = BestAvailableEncryption(passphrase.encode())
            key_file.write_bytes(key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
            chain_file.write_text("".join(armor.armor("CERTIFICATE", der) for der in certificate.chain))
            try:
                context.load_cert_chain(chain_file, key_file, passphrase)
            except ssl.SSLError as error:
                raise ConfigurationError(f"{certificate.name}: certificate and key do not fit: {error}") from error
        bindings = [certificate.binding]
        if previous is not None:
            bindings.append(previous.binding)
        setattr(context, _BINDINGS, tuple(bindings))
        return context

    def _stems(self) -> list[str]:
        return [path.stem for path in self._folder.glob("listener-*.pem")]

    def _read(self, path: Path) -> ListenerCertificate:
        try:
            blocks = _PEM_BLOCK.findall(path.read_text("ascii"))
            chain = tuple(armor.dearmor(block) for block in blocks)
            view = CertificateView.parse(chain[0])
        except (OSError, UnicodeDecodeError, EncodingError, IndexError) as error:
            raise ConfigurationError(
                f"{path} is damaged ({error}); remove it and its key, then run: certwright tls renew"
            ) from error
        return ListenerCertificate(path.stem, chain, view.not_before, view.not_after)

    def _forget_old(self) -> None:
        """Keep the current one and the one before."""
        keep = {certificate.name for certificate in self.generations()[-2:]}
        for name in self._keys.names():
            if _NAME.fullmatch(name) and name not in keep:
                (self._folder / f"{name}.pem").unlink(missing_ok=True)
                self._keys.delete(name)

    @staticmethod
    def _number(name: str) -> int:
        match = _NAME.fullmatch(name)
        return int(match[1]) if match else 0


class ServerTls:
    """One listener's TLS: the outer context that hands every handshake to the current one.

    Args:
        client_cas: CA certificates (DER) that clients' certificates are verified with. None: clients are not asked
            for one. Otherwise they may show one, and one that does not lead to these ends the handshake.
        demanding: a client without a certificate ends the handshake too.
    """

    def __init__(
        self,
        certificates: ListenerCertificates,
        on_change: Callable[[str], None] = lambda _: None,
        client_cas: Sequence[bytes] = (),
        *,
        demanding: bool = False,
    ) -> None:
        """Raises:
        ConfigurationError: there is no usable certificate.
        """
        self._certificates = certificates
        self._on_change = on_change
        self._client_cas = tuple(client_cas)
        self._demanding = demanding
        self._name = ""
        self._current: ssl.SSLContext
        self.reload()
        self.context = _hardened(self._client_cas, demanding=demanding)
        self.context.sni_callback = self._choose

    def reload(self) -> bool:
        """Show the newest certificate from now on; connections that exist live on. True when it changed."""
        generations = self._certificates.generations()
        newest = generations[-1] if generations else self._certificates.current()
        if newest.name == self._name:
            return False
        previous = generations[-2] if len(generations) > 1 else None
        self._current = self._certificates.context(newest, previous, self._client_cas, demanding=self._demanding)
        self._name = newest.name
        self._on_change(newest.name)
        return True

    def trust(self, client_cas: Sequence[bytes]) -> None:
        """Verify clients' certificates with these CAs from the next handshake on: ours may get a new key."""
        if tuple(client_cas) != self._client_cas:
            self._client_cas, self._name = tuple(client_cas), ""
            self.reload()

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, also when the client names nobody."""
        connection.context = self._current


def bindings_of(context: ssl.SSLContext) -> tuple[bytes, ...]:
    """The channel bindings a connection of this context may carry; none when the context is not ours."""
    bindings: tuple[bytes, ...] = getattr(context, _BINDINGS, ())
    return bindings


def _hardened(client_cas: Sequence[bytes] = (), *, demanding: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])  # NTLM is not defined on HTTP/2
    if client_cas:
        context.verify_mode = ssl.CERT_REQUIRED if demanding else ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=b"".join(client_cas))
    return context


def _issuers(door: CertRequest) -> tuple[bytes, ...]:
    """The issuing CA's certificate. The root is what clients have already."""
    value = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST)
    return (value,) if isinstance(value, bytes) else ()
