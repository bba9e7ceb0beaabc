"""Whose TLS certificate is believed, what cannot change that, and what is said where it is not."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.connectors import trust as trusting
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.errors import CertificateNotTrusted, ConnectionFailed, NameNotResolved, TlsFailed
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.trust import (
    Fingerprint,
    PinnedFile,
    SystemTrust,
    Trust,
    explain,
    look_at,
    verifying_context,
)
from tests.support.localized_pages import Site
from tests.support.scripted_https import Identity, make_authority, make_server
from tests.unit.connectors.conftest import CREDENTIAL, Serve, address_of

Connect = Callable[..., CertsrvConnection]


@pytest.fixture(autouse=True)
def _something_to_retrieve(site: Site) -> None:
    site.rows[7] = "pending"


def test_a_root_an_issuing_ca_and_the_servers_own_certificate_can_be_pinned(
    serve: Serve, connect: Connect, site: Site, root: Identity, issuing: Identity, web: Identity
) -> None:
    server = serve(site)
    trusts: list[Trust] = [
        PinnedFile(root.pem),
        PinnedFile(make_authority("Another").pem + issuing.pem),
        PinnedFile(web.pem),
        Fingerprint(web.sha256),
        Fingerprint(issuing.sha256.upper()),
    ]

    for trust in trusts:
        assert connect(server, trust).retrieve(7).request_id == 7


def test_a_self_signed_certificate_can_be_accepted_by_its_fingerprint_whatever_it_is_called(
    serve: Serve, connect: Connect, site: Site
) -> None:
    """The certificate says itself whose it is; a name in it adds nothing."""
    identity = make_server(None, "old-name.corp.example")
    server = serve(site, identity)

    seen = look_at(address_of(server), 5)
    assert seen.sha256 == identity.sha256
    assert seen.names == ("DNS:old-name.corp.example",)
    assert connect(server, Fingerprint(seen.fingerprint)).retrieve(7).request_id == 7


def untrusted(connection: CertsrvConnection) -> CertificateNotTrusted:
    with pytest.raises(CertificateNotTrusted) as raised:
        connection.retrieve(7)
    return raised.value


def test_a_stranger_is_shown_with_fingerprint_and_subject_and_gets_nothing(
    serve: Serve, connect: Connect, site: Site, web: Identity
) -> None:
    server = serve(site)

    for trust in (SystemTrust(), PinnedFile(make_authority("Another").pem)):
        error = untrusted(connect(server, trust))

        assert error.seen is not None
        assert error.seen.sha256 == web.sha256
        assert error.seen.fingerprint in error.message
        assert "CN=localhost" in error.message
        assert error.fix
    assert not server.seen


def test_another_certificate_than_the_accepted_one_is_refused_before_anything_is_sent(
    serve: Serve, connect: Connect, site: Site, web: Identity
) -> None:
    server = serve(site)

    error = untrusted(connect(server, Fingerprint("ab" * 32)))

    assert error.seen is not None
    assert error.seen.sha256 == web.sha256
    assert "AB:AB" in error.message
    assert not server.seen


def test_a_ca_that_is_merely_sent_along_proves_nothing(
    serve: Serve, connect: Connect, site: Site, issuing: Identity
) -> None:
    """Anybody can send somebody's CA certificate: the chain must lead to it."""
    impostor = make_server(make_authority("Impostor"))
    server = serve(site, Identity(impostor.certificate, impostor.key, (issuing.certificate,)))

    assert untrusted(connect(server, Fingerprint(issuing.sha256)))
    assert not server.seen


@pytest.mark.parametrize("pin", ["root", "issuing"])
def test_the_name_must_be_right_where_a_ca_is_trusted(
    serve: Serve, connect: Connect, site: Site, root: Identity, issuing: Identity, pin: str
) -> None:
    server = serve(site, make_server(issuing, "other.corp.example"))
    trust: Trust = PinnedFile(root.pem) if pin == "root" else Fingerprint(issuing.sha256)

    error = untrusted(connect(server, trust))

    assert "other.corp.example" in error.what
    assert "localhost" in error.what


@pytest.mark.parametrize("kind", ["file", "fingerprint"])
def test_an_expired_certificate_is_refused_even_when_pinned(
    serve: Serve, connect: Connect, site: Site, issuing: Identity, root: Identity, kind: str
) -> None:
    identity = make_server(issuing, ends=timedelta(days=-1))
    server = serve(site, identity)

    error = untrusted(connect(server, PinnedFile(root.pem) if kind == "file" else Fingerprint(identity.sha256)))

    assert "expired" in error.what
    assert not server.seen


def test_the_environment_changes_no_trust(
    serve: Serve, connect: Connect, site: Site, root: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bundles with our root in them make no stranger trusted, and an empty one or a proxy breaks nothing."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(root.pem)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    server = serve(site)

    assert untrusted(connect(server, SystemTrust()))
    assert connect(server, PinnedFile(root.pem)).retrieve(7).request_id == 7
    assert not (tmp_path / "keys").exists()


def test_the_system_store_is_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Identity) -> None:
    """The compiled-in places are read; where there are none, that is said instead of trusting nobody silently."""
    bundle = tmp_path / "system.pem"
    bundle.write_text(root.pem)
    here = ssl.DefaultVerifyPaths("", "", "SSL_CERT_FILE", str(bundle), "SSL_CERT_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("certwright.connectors.trust.ssl.get_default_verify_paths", lambda: here)
    address = ServiceAddress("ca.corp.example")

    context = verifying_context(SystemTrust(), address, 1)
    assert context.get_ca_certs(binary_form=True) == [root.der]

    bundle.unlink()
    monkeypatch.setattr(trusting, "_BUNDLES", ())
    with pytest.raises(ConfigurationError, match="pin the CA"):
        verifying_context(SystemTrust(), address, 1)


def test_every_context_verifies() -> None:
    """No way leads to a connection that is not verified."""
    for trust in (SystemTrust(), PinnedFile(make_authority("A").pem)):
        context = verifying_context(trust, ServiceAddress("ca.corp.example"), 1)

        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# -- the way to TLS --------------------------------------------------------------------------------------------------


def test_a_name_nobody_knows(monkeypatch: pytest.MonkeyPatch, root: Identity) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    connection = CertsrvConnection(ServiceAddress("ca.corp.example"), CREDENTIAL, PinnedFile(root.pem))

    with pytest.raises(NameNotResolved, match=r"ca\.corp\.example"):
        connection.retrieve(7)


def test_a_port_without_tls(root: Identity) -> None:
    """Port 80 instead of 443."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = ServiceAddress("localhost", listener.getsockname()[1])
        with pytest.raises(TlsFailed, match="does not talk TLS"):
            CertsrvConnection(address, CREDENTIAL, PinnedFile(root.pem)).retrieve(7)
        thread.join(5)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError("timed out"), ConnectionFailed, "in time"),
        (ConnectionResetError(104, "reset"), ConnectionFailed, "broke the connection off"),
        (OSError(101, "Network is unreachable"), ConnectionFailed, "unreachable"),
        (ValueError("?"), ConnectionFailed, "broke off"),
    ],
)
def test_what_happened_below_is_said_in_words(error: Exception, kind: type[Exception], words: str) -> None:
    found = explain(error, ServiceAddress("ca.corp.example"))

    assert type(found) is kind
    assert words in found.message
    assert found.fix


# -- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["", "a b", "ca.corp.example/x", "ca@evil", "ca:443", "-ca", "ca..example", "x" * 64, "%41", "fe80::1%eth0"],
)
def test_what_cannot_be_a_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError):
        ServiceAddress(host)


def test_addresses_make_urls() -> None:
    assert ServiceAddress("ca.corp.example").url == "https://ca.corp.example:443/certsrv/"
    assert ServiceAddress("2001:db8::1", 8443, path="/pki/certsrv/").url == "https://[2001:db8::1]:8443/pki/certsrv/"
    assert str(ServiceAddress("ca.corp.example")) == "ca.corp.example"
    assert str(ServiceAddress("ca.corp.example", 8443)) == "ca.corp.example:8443"
    for port in (0, 65536):
        with pytest.raises(ConfigurationError):
            ServiceAddress("ca.corp.example", port)
    for path in ("certsrv/", "/certsrv", "/a/../b/", "/a?b/", "/a//b/"):
        with pytest.raises(ConfigurationError):
            ServiceAddress("ca.corp.example", path=path)


def test_credentials_are_checked_and_show_no_secret() -> None:
    for username, secret in (("", "x"), ("a\r\nb", "x"), ("a", ""), ("a", "x" * 70_000)):
        with pytest.raises(ConfigurationError) as raised:
            ServiceCredential.password(username, secret)
        assert "xx" not in raised.value.message
    with pytest.raises(ConfigurationError):
        ServiceCredential.password("a", "b", "not a realm")
    assert "canary" not in repr(ServiceCredential.password("a", "canary"))
    assert "canary" not in repr(ServiceCredential.keytab("a", b"canary"))


@pytest.mark.parametrize(
    ("username", "realm", "principal"),
    [
        ("svc", "corp.example", "svc@CORP.EXAMPLE"),
        (r"CORP\svc", "corp.example", "svc@CORP.EXAMPLE"),
        (r"corp.example\svc", "", "svc@CORP.EXAMPLE"),
        ("svc@corp.example", "", "svc@CORP.EXAMPLE"),
        ("svc@corp.example", "other.example", "svc@CORP.EXAMPLE"),
    ],
)
def test_kerberos_principals_are_made_from_every_way_to_write_a_name(
    username: str, realm: str, principal: str
) -> None:
    assert ServiceCredential.password(username, "x", realm).principal == principal


def test_a_netbios_domain_is_no_realm() -> None:
    with pytest.raises(ConfigurationError, match=r"svc@corp\.example"):
        _ = ServiceCredential.password(r"CORP\svc", "x").principal


def test_fingerprints_are_64_digits_however_they_are_written() -> None:
    assert Fingerprint("AB:" * 31 + "AB") == Fingerprint("ab" * 32)
    for text in ("", "ab", "ab" * 33, "zz" * 32):
        with pytest.raises(ConfigurationError):
            Fingerprint(text)


def test_a_file_without_a_certificate_is_refused() -> None:
    for pem in ("", "hello", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"):
        with pytest.raises(ConfigurationError):
            PinnedFile(pem)
    damaged = PinnedFile("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
    with pytest.raises(ConfigurationError):
        verifying_context(damaged, ServiceAddress("ca.corp.example"), 1)


def test_schemes_have_names_for_people() -> None:
    assert [scheme.label for scheme in AuthScheme] == ["NTLM", "Kerberos", "Basic"]
