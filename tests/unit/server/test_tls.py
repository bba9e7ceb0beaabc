"""TLS of our own listeners: renewal without a restart, channel bindings across it. RFC 5929, docs/adr/0005."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from certwright.adcs.errors import ConfigurationError, HResult
from certwright.adcs.properties import CaProperty, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, Disposition, RequestAttributes, RequestFlags, Response
from certwright.keystores.base import KeyAlgorithm
from certwright.keystores.sealing import Sealer
from certwright.keystores.software import SoftwareKeyStore
from certwright.pki.channel_binding import tls_server_end_point
from certwright.server import tls
from certwright.server.tls import ListenerCertificates, ServerTls, bindings_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Door:
    """A CA that certifies whatever key it is shown for `localhost`."""

    config = "ca.corp.example\\CORP CA"

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CORP CA")])
        self.certificate = self._sign(self.key.public_key(), self.name, x509.BasicConstraints(True, 0))
        self.denies = False
        self.asked: list[RequestAttributes] = []

    def submit(
        self, request: bytes, attributes: RequestAttributes = NO_ATTRIBUTES, flags: RequestFlags = RequestFlags.DETECT
    ) -> Response:
        self.asked.append(attributes)
        if self.denies:
            return Response(7, Disposition.DENIED, HResult.CERTSRV_E_TEMPLATE_DENIED, "Denied by Policy Module")
        csr = x509.load_der_x509_csr(request)
        assert csr.is_signature_valid
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = self._sign(csr.public_key(), x509.Name([]), names)
        return Response(7, Disposition.ISSUED, HResult.S_OK, "Issued", certificate)

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        raise NotImplementedError

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        assert prop is CaProperty.CA_SIGNATURE_CERTIFICATE
        return self.certificate

    def _sign(self, public_key: object, subject: x509.Name, extension: x509.ExtensionType) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .issuer_name(self.name)
            .subject_name(subject)
            .public_key(public_key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW)
            .not_valid_after(NOW + timedelta(days=30_000))
            .add_extension(extension, critical=True)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def keys(tmp_path: Path) -> SoftwareKeyStore:
    return SoftwareKeyStore(tmp_path / "tls", Sealer.create(tmp_path / "master.key"))


@pytest.fixture
def certificates(tmp_path: Path, keys: SoftwareKeyStore, monkeypatch: pytest.MonkeyPatch) -> ListenerCertificates:
    monkeypatch.setattr(tls, "KEY_ALGORITHM", KeyAlgorithm.ECDSA_P256)  # RSA keys take long to make
    return ListenerCertificates(tmp_path / "tls", keys)


def connect(
    server_context: ssl.SSLContext, prepare: Callable[[ssl.SSLContext], None] = lambda _: None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory; returns the client's and the server's end."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    prepare(client_context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    pending = {client, server}
    for _ in range(10):
        for end in (client, server):
            try:
                if end in pending:
                    end.do_handshake()
                    pending.discard(end)
            except ssl.SSLWantReadError:
                continue
        if not pending:
            return client, server
    raise AssertionError("the handshake did not end")


def test_the_certificate_comes_through_the_door_and_is_served_with_its_issuer(
    door: Door, certificates: ListenerCertificates
) -> None:
    enrolled = certificates.enroll(door)
    server = ServerTls(certificates)

    client, _ = connect(server.context)

    assert enrolled == certificates.current()
    assert (enrolled.chain[0], door.certificate) == enrolled.chain
    assert client.getpeercert(True) == enrolled.chain[0]
    assert door.asked == [RequestAttributes((("CertificateTemplate", "Machine"),))]


def test_a_client_that_trusts_the_ca_is_satisfied(door: Door, certificates: ListenerCertificates) -> None:
    certificates.enroll(door)

    def trusting(context: ssl.SSLContext) -> None:
        context.load_verify_locations(cadata=door.certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode, context.check_hostname = ssl.CERT_REQUIRED, True

    client, _ = connect(ServerTls(certificates).context, trusting)

    assert client.version() == "TLSv1.3"


def test_a_renewal_is_shown_to_new_connections_only(door: Door, certificates: ListenerCertificates) -> None:
    first = certificates.enroll(door)
    server = ServerTls(certificates)
    _, old_connection = connect(server.context)

    second = certificates.enroll(door)
    changed = server.reload()
    client, new_connection = connect(server.context)

    assert changed
    assert not server.reload()
    assert client.getpeercert(True) == second.chain[0] != first.chain[0]
    assert bindings_of(old_connection.context) == (tls_server_end_point(first.chain[0]),)
    assert bindings_of(new_connection.context) == (
        tls_server_end_point(second.chain[0]),
        tls_server_end_point(first.chain[0]),
    )


def test_a_renewal_changes_the_kind_of_key_as_well(
    door: Door, certificates: ListenerCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One live context would keep a certificate per kind of key and go on showing the old one."""
    certificates.enroll(door)
    server = ServerTls(certificates)
    monkeypatch.setattr(tls, "KEY_ALGORITHM", KeyAlgorithm.ECDSA_P384)
    certificates.enroll(door)
    server.reload()

    def old_kind_only(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    client, _ = connect(server.context, old_kind_only)

    shown = x509.load_der_x509_certificate(client.getpeercert(True) or b"").public_key()
    assert isinstance(shown, ec.EllipticCurvePublicKey)
    assert shown.curve.name == "secp384r1"


def test_the_folder_keeps_two_generations(
    door: Door, certificates: ListenerCertificates, keys: SoftwareKeyStore
) -> None:
    for _ in range(4):
        certificates.enroll(door)

    assert [each.name for each in certificates.generations()] == ["listener-00003", "listener-00004"]
    assert keys.names() == ("listener-00003", "listener-00004")


def test_a_denied_request_leaves_everything_as_it_was(
    door: Door, certificates: ListenerCertificates, keys: SoftwareKeyStore
) -> None:
    certificates.enroll(door)
    door.denies = True

    with pytest.raises(ConfigurationError, match=r"request 7.*Denied by Policy Module"):
        certificates.enroll(door)

    assert certificates.current().name == "listener-00001"
    assert keys.names() == ("listener-00001",)


def test_a_key_left_by_an_interrupted_renewal_is_not_used_again(
    door: Door, certificates: ListenerCertificates, keys: SoftwareKeyStore
) -> None:
    certificates.enroll(door)
    left = keys.create("listener-00002", KeyAlgorithm.ECDSA_P256)

    renewed = certificates.enroll(door)

    assert renewed.name == "listener-00003"
    assert keys.names() == ("listener-00001", "listener-00003")
    shown = x509.load_der_x509_certificate(renewed.chain[0]).public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert shown.public_bytes(*form) != left.public_key.public_bytes(*form)


def test_it_is_renewed_after_two_thirds_of_its_life(door: Door, certificates: ListenerCertificates) -> None:
    assert certificates.enroll(door).renew_after == NOW + timedelta(days=20_000)


def test_old_versions_of_tls_are_refused(door: Door, certificates: ListenerCertificates) -> None:
    certificates.enroll(door)

    def old(context: ssl.SSLContext) -> None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.minimum_version = ssl.TLSVersion.TLSv1

    with pytest.warns(DeprecationWarning, match="deprecated"), pytest.raises(ssl.SSLError):
        connect(ServerTls(certificates).context, old)


def test_http_2_is_never_agreed_on(door: Door, certificates: ListenerCertificates) -> None:
    """Authentication of a connection is not defined there."""
    certificates.enroll(door)

    client, _ = connect(
        ServerTls(certificates).context, lambda context: context.set_alpn_protocols(["h2", "http/1.1"])
    )

    assert client.selected_alpn_protocol() == "http/1.1"


def with_certificate(issuer: Door, folder: Path) -> Callable[[ssl.SSLContext], None]:
    """A client that has one, issued by this CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("client")])
    certificate = issuer._sign(
        key.public_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")]), names
    )
    file = folder / "client.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)
    )
    return lambda context: context.load_cert_chain(file)


def test_clients_are_asked_for_no_certificate_by_themselves(
    door: Door, certificates: ListenerCertificates, tmp_path: Path
) -> None:
    certificates.enroll(door)
    _, server = connect(ServerTls(certificates).context, with_certificate(door, tmp_path))
    assert server.getpeercert(True) is None


def test_a_client_may_show_a_certificate_of_these_cas(
    door: Door, certificates: ListenerCertificates, tmp_path: Path
) -> None:
    """The context that a handshake is handed to asks as the first one does."""
    certificates.enroll(door)
    context = ServerTls(certificates, client_cas=[door.certificate]).context

    _, without = connect(context)
    _, server = connect(context, with_certificate(door, tmp_path))

    assert without.getpeercert(True) is None
    shown = x509.load_der_x509_certificate(server.getpeercert(True) or b"")
    assert shown.subject.rfc4514_string() == "CN=client"


def test_a_certificate_of_another_ca_ends_the_handshake(
    door: Door, certificates: ListenerCertificates, tmp_path: Path
) -> None:
    """Another CA of the same name: the signature counts."""
    certificates.enroll(door)
    context = ServerTls(certificates, client_cas=[door.certificate]).context
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        connect(context, with_certificate(Door(), tmp_path))


def test_a_client_without_a_certificate_ends_the_handshake_where_one_is_demanded(
    door: Door, certificates: ListenerCertificates, tmp_path: Path
) -> None:
    certificates.enroll(door)
    context = ServerTls(certificates, client_cas=[door.certificate], demanding=True).context

    connect(context, with_certificate(door, tmp_path))
    with pytest.raises(ssl.SSLError, match="did not return a certificate"):
        connect(context)


def test_another_ca_is_trusted_from_the_next_handshake_on(
    door: Door, certificates: ListenerCertificates, tmp_path: Path
) -> None:
    """A CA that got a new key issues clients' certificates with it at once."""
    other = Door()
    certificates.enroll(door)
    tls = ServerTls(certificates, client_cas=[door.certificate], demanding=True)
    prepare = with_certificate(other, tmp_path)
    with pytest.raises(ssl.SSLError):
        connect(tls.context, prepare)

    tls.trust([other.certificate])

    connect(tls.context, prepare)


def test_a_missing_or_damaged_certificate_says_what_to_do(
    door: Door, certificates: ListenerCertificates, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="certwright tls renew"):
        ServerTls(certificates)

    certificates.enroll(door)
    (tmp_path / "tls" / "listener-00001.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    )

    with pytest.raises(ConfigurationError, match=r"listener-00001\.pem is damaged"):
        ServerTls(certificates)
