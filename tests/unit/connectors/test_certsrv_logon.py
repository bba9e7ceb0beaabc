"""Logging on: what is proved, to which connection it is bound, and what is said when it fails."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import spnego
from cryptography.hazmat.primitives import hashes
from spnego.channel_bindings import GssChannelBindings

from certwright.adcs.errors import ConfigurationError
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.errors import AnswerLost, ConnectionFailed, LogonCause, LogonRefused
from certwright.connectors.logon import ConnectionLogon
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from tests.support.localized_pages import Site
from tests.support.requests import web_server_request
from tests.support.scripted_https import Identity, Reply, Seen, make_server
from tests.unit.connectors.conftest import ACCOUNT, CREDENTIAL, PASSWORD, Serve

Connect = Callable[..., CertsrvConnection]


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384()])
def test_the_logon_is_bound_to_the_certificate_of_the_connection(
    serve: Serve, connect: Connect, site: Site, issuing: Identity, algorithm: hashes.SHA256 | hashes.SHA384
) -> None:
    """RFC 5929 4.1: the hash of the certificate's signature. pyspnego's structure makes the expected value."""
    identity = make_server(issuing, algorithm=algorithm)
    site.rows[7] = "pending"
    server = serve(site, identity)

    connect(server).retrieve(7)

    data = b"tls-server-end-point:" + identity.certificate.fingerprint(algorithm)
    expected = hashes.Hash(hashes.MD5())
    expected.update(GssChannelBindings(application_data=data).pack())
    proof = server.authenticated[0]
    assert proof.channel_bindings == expected.finalize()
    assert proof.account == ACCOUNT
    assert proof.target == "HTTP/localhost"


def test_a_bare_name_logs_on_to_the_realm(serve: Serve, connect: Connect, site: Site) -> None:
    site.rows[7] = "pending"
    server = serve(site)

    connect(server, credential=ServiceCredential.password("svc", PASSWORD, "corp.example")).retrieve(7)
    connect(server, credential=ServiceCredential.password("svc@corp.example", PASSWORD)).retrieve(7)

    assert [proof.account for proof in server.authenticated] == [r"corp.example\svc", r"\svc@corp.example"]


def test_a_page_that_asks_for_no_logon_is_sent_none(serve: Serve, connect: Connect, site: Site) -> None:
    site.rows[7] = "pending"
    server = serve(site, logon=False)

    connect(server).retrieve(7)

    assert all("authorization" not in each.headers for each in server.seen)


# -- refusals --------------------------------------------------------------------------------------------------------


def refused(connection: CertsrvConnection) -> LogonRefused:
    with pytest.raises(LogonRefused) as raised:
        connection.retrieve(7)
    return raised.value


def test_the_schemes_on_offer_are_named_when_ours_is_not_among_them(
    serve: Serve, connect: Connect, site: Site
) -> None:
    error = refused(connect(serve(site, offers=('Basic realm="a, b"', "Digest qop=auth, nonce=1"))))

    assert error.cause is LogonCause.NOT_OFFERED
    assert error.offered == ("Basic", "Digest")
    assert "Basic, Digest" in error.message


def test_a_401_that_offers_nothing_is_said(serve: Serve, connect: Connect, site: Site) -> None:
    assert "no scheme at all" in refused(connect(serve(site, offers=()))).message


def test_a_refusal_after_the_handshake_says_what_is_known(
    serve: Serve, connect: Connect, site: Site, web: Identity
) -> None:
    """Account, domain of the server, and the certificate the logon was bound to; no guess is sold as knowledge."""
    server = serve(site, refusal=Reply("<h1>401</h1>", 401, headers=(("WWW-Authenticate", "NTLM"),)))

    error = refused(connect(server))

    assert error.cause is LogonCause.UNKNOWN
    assert ACCOUNT in error.what
    assert "corp.example" in error.what
    assert web.sha256[:4].upper() in error.fix.replace(":", "")
    assert len(server.authenticated) == 1  # never a second try, which could lock the account


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("0x80090346", LogonCause.CHANNEL_BINDING),
        ("0x8009030C", LogonCause.WRONG_PASSWORD),
        ("0xc0000234", LogonCause.LOCKED),
        ("0xc0000193", LogonCause.EXPIRED),
        ("0xc0000071", LogonCause.PASSWORD_EXPIRED),
        ("0xc0000072", LogonCause.DISABLED),
        ("0xc000015b", LogonCause.NOT_PERMITTED),
    ],
)
def test_a_code_in_the_refusal_tells_why_in_any_language(
    serve: Serve, connect: Connect, site: Site, code: str, cause: LogonCause
) -> None:
    server = serve(site, refusal=Reply(f"<table><tr><td>エラー</td><td>{code}</td></tr></table>", 401))

    error = refused(connect(server))

    assert error.cause is cause
    assert error.fix


def test_a_scheme_that_is_offered_and_not_challenged_is_told_apart(
    serve: Serve, connect: Connect, site: Site
) -> None:
    """NTLM restricted by policy: offered by IIS, refused before the challenge."""
    server = serve(lambda seen: Reply("", 401, headers=(("WWW-Authenticate", "NTLM"),)), logon=False)

    assert refused(connect(server)).cause is LogonCause.NOT_CHALLENGED


def test_a_connection_that_ends_between_the_legs_is_told(serve: Serve, connect: Connect, site: Site) -> None:
    """A proxy that closes after each answer: NTLM cannot work through it, and no password is wrong."""
    with pytest.raises(ConnectionFailed, match="middle of the NTLM handshake"):
        connect(serve(site, hang_up=True)).retrieve(7)


def test_a_first_401_may_close_its_connection(serve: Serve, connect: Connect, site: Site) -> None:
    """The handshake then begins on the next one, with all its legs there."""
    site.rows[7] = "pending"
    server = serve(site, close_first=True)

    assert connect(server).retrieve(7).request_id == 7
    assert [each.connection for each in server.seen] == [1, 2, 2]


@pytest.mark.parametrize(
    "value", ["NTLM %%%", "NTLM AAAA", "NTLM " + base64.b64encode(b"NTLMSSP\0\2\0\0\0").decode()]
)
def test_a_nonsensical_challenge_ends_in_an_error_of_ours(serve: Serve, connect: Connect, value: str) -> None:
    server = serve(lambda seen: Reply("", 401, headers=(("WWW-Authenticate", value),)), logon=False)

    with pytest.raises((LogonRefused, ConnectionFailed)):
        connect(server).retrieve(7)
    assert len(server.seen) == 2


def test_an_endless_401_is_cut_off(serve: Serve, connect: Connect) -> None:
    server = serve(lambda seen: Reply("x" * 2_000_000, 401, headers=(("WWW-Authenticate", "NTLM"),)), logon=False)

    with pytest.raises(Exception, match="more than"):
        connect(server).retrieve(7)


def test_a_connection_lost_before_the_post_is_logged_on_again(serve: Serve, connect: Connect, site: Site) -> None:
    """The 401 says that the POST was not taken: sending it again with the handshake is no second submission."""

    def pages(seen: Seen) -> Reply:
        reply = site(seen)
        return Reply(reply.body, headers=(("Connection", "close"),)) if seen.page == "" else reply

    server = serve(pages)

    response = connect(server).submit(web_server_request())

    assert response.is_issued
    assert len(site.rows) == 1
    assert len(server.authenticated) == 2


def test_the_environment_cannot_ask_for_ntlmv1(
    serve: Serve, connect: Connect, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_COMPAT_LEVEL", "0")
    server = serve(site)

    with pytest.raises(ConfigurationError, match="LM_COMPAT_LEVEL"):
        connect(server).retrieve(7)
    assert not server.authenticated


# -- Basic, Negotiate, Kerberos --------------------------------------------------------------------------------------


def test_the_password_itself_is_sent_only_where_basic_was_chosen(serve: Serve, connect: Connect, site: Site) -> None:
    expected = "Basic " + base64.b64encode(f"{ACCOUNT}:{PASSWORD}".encode()).decode()
    site.rows[7] = "pending"

    def pages(seen: Seen) -> Reply:
        if seen.headers.get("authorization") == expected:
            return site(seen)
        return Reply("", 401, headers=(("WWW-Authenticate", 'Basic realm="x"'), ("WWW-Authenticate", "Negotiate")))

    server = serve(pages, logon=False)

    assert connect(server, scheme=AuthScheme.BASIC).retrieve(7).request_id == 7
    assert "authorization" not in server.seen[0].headers
    for scheme in (AuthScheme.NTLM, AuthScheme.KERBEROS):
        # without Kerberos' packages the latter ends there, with them at an account that names no realm
        with pytest.raises((LogonRefused, ConfigurationError)):
            connect(server, scheme=scheme).retrieve(7)
    assert [
        each.headers["authorization"] for each in server.seen if "Basic" in each.headers.get("authorization", "")
    ] == [expected]


def test_ntlm_inside_negotiate_is_used_where_bare_ntlm_is_not_offered(serve: Serve, connect: Connect) -> None:
    """Checked by pyspnego's acceptor, which demands our binding."""
    seen: list[str] = []

    def pages(request: Seen) -> Reply:
        seen.append(request.headers.get("authorization", ""))
        return Reply("", 401, headers=(("WWW-Authenticate", "Negotiate"),))

    error = refused(connect(serve(pages, logon=False)))

    assert seen[1].startswith("Negotiate ")
    token = base64.b64decode(seen[1].split()[1])
    assert token[:1] == b"\x60"
    assert b"NTLMSSP\0\1\0\0\0" in token
    assert bytes.fromhex("2a864886f712010202") not in token  # Kerberos is not among the mechanisms
    assert error.cause is LogonCause.NOT_CHALLENGED


def test_a_keytab_is_for_kerberos_alone(serve: Serve, connect: Connect, site: Site) -> None:
    keytab = ServiceCredential.keytab("svc@corp.example", b"\x05\x02" + 40 * b"k")

    with pytest.raises(ConfigurationError, match="Kerberos"):
        connect(serve(site), credential=keytab).retrieve(7)


def test_without_its_libraries_kerberos_names_the_extra(
    serve: Serve, connect: Connect, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certwright.connectors.handshake.importlib.util.find_spec", lambda name: None)
    server = serve(site)

    error = refused(connect(server, scheme=AuthScheme.KERBEROS))

    assert error.cause is LogonCause.NOT_INSTALLED
    assert "certwright[kerberos]" in error.message
    assert not server.authenticated


class _Ticket:
    """What a Kerberos context of pyspnego does, without a KDC."""

    made: list[tuple[object, dict[str, object]]] = []
    keytabs: list[tuple[bytes, int, int]] = []

    def __init__(self, account: object, **options: object) -> None:
        self.made.append((account, options))
        if isinstance(account, spnego.KerberosKeytab):
            file = Path(account.keytab.removeprefix("FILE:"))
            self.keytabs.append((file.read_bytes(), file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777))
        self.complete = False

    def step(self, token: bytes | None = None) -> bytes | None:
        if token is None:
            return b"\x60\x03AP-"
        self.complete = True
        if token != b"AP-REP":
            raise ValueError("not the server's answer")
        return None


@pytest.fixture
def kerberos(monkeypatch: pytest.MonkeyPatch) -> type[_Ticket]:
    _Ticket.made, _Ticket.keytabs = [], []
    monkeypatch.setattr("certwright.connectors.handshake.importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("certwright.connectors.handshake.spnego.client", _Ticket)
    return _Ticket


def kerberized(site: Site, answer: bytes) -> Callable[[Seen], Reply]:
    """Believes any ticket; answers with NegTokenResp { accept-completed, responseToken }. RFC 4178 4.2.2."""
    inner = b"\x30" + bytes((9 + len(answer),)) + b"\xa0\x03\x0a\x01\x00\xa2" + bytes((2 + len(answer),))
    inner += b"\x04" + bytes((len(answer),)) + answer
    token = b"\xa1" + bytes((len(inner),)) + inner

    def pages(seen: Seen) -> Reply:
        if not seen.headers.get("authorization", "").startswith("Negotiate "):
            return Reply("", 401, headers=(("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM")))
        reply = site(seen)
        proof = ("WWW-Authenticate", f"Negotiate {base64.b64encode(token).decode()}")
        return Reply(reply.body, reply.status, reply.content_type, (proof,))

    return pages


def test_kerberos_stands_alone_in_spnego_and_is_bound_too(
    serve: Serve, connect: Connect, site: Site, kerberos: type[_Ticket], web: Identity
) -> None:
    """Principal, target and binding as handed to GSSAPI; the token in a NegTokenInit with one mechanism."""
    site.rows[7] = "pending"
    server = serve(kerberized(site, b"AP-REP"), logon=False)
    credential = ServiceCredential.password("svc", PASSWORD, "corp.example")

    connect(server, credential=credential, scheme=AuthScheme.KERBEROS).retrieve(7)

    account, options = kerberos.made[0]
    assert account == spnego.Password("svc@CORP.EXAMPLE", PASSWORD)
    assert options["protocol"] == "kerberos"
    assert options["hostname"] == "localhost"
    bindings = options["channel_bindings"]
    assert isinstance(bindings, GssChannelBindings)
    assert bindings.application_data == b"tls-server-end-point:" + bytes.fromhex(web.sha256)
    token = base64.b64decode(server.seen[1].headers["authorization"].split()[1])
    assert token.count(bytes.fromhex("06092a864886f712010202")) == 1
    assert bytes.fromhex("2b06010401823702020a") not in token  # NTLM
    assert token.endswith(b"\x60\x03AP-")


def test_a_server_that_does_not_prove_itself_is_not_believed(
    serve: Serve, connect: Connect, site: Site, kerberos: type[_Ticket]
) -> None:
    """On a page: the connection fails. In answer to a POST, which may have been taken all the same: lost."""
    server = serve(kerberized(site, b"FORGED"), logon=False)
    connection = connect(
        server, scheme=AuthScheme.KERBEROS, credential=ServiceCredential.password("a@b.example", "c")
    )

    with pytest.raises(ConnectionFailed, match="does not prove"):
        connection.retrieve(7)

    def pages(seen: Seen) -> Reply:
        return kerberized(site, b"FORGED" if seen.method == "POST" else b"AP-REP")(seen)

    with pytest.raises(AnswerLost):
        connect(
            serve(pages, logon=False),
            scheme=AuthScheme.KERBEROS,
            credential=ServiceCredential.password("a@b.example", "c"),
        ).submit(web_server_request())


def test_a_keytab_lies_in_a_private_file_while_it_is_needed(
    serve: Serve, connect: Connect, site: Site, kerberos: type[_Ticket]
) -> None:
    site.rows[7] = "pending"
    server = serve(kerberized(site, b"AP-REP"), logon=False)
    octets = b"\x05\x02" + 40 * b"k"

    connect(
        server, scheme=AuthScheme.KERBEROS, credential=ServiceCredential.keytab(r"corp.example\svc", octets)
    ).retrieve(7)

    account, _ = kerberos.made[0]
    assert isinstance(account, spnego.KerberosKeytab)
    assert account.principal == "svc@CORP.EXAMPLE"
    assert kerberos.keytabs == [(octets, 0o600, 0o700)]
    assert not Path(account.keytab.removeprefix("FILE:")).exists()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (SimpleNamespace(err_code=-1765328360), LogonCause.WRONG_PASSWORD),  # KRB5KDC_ERR_PREAUTH_FAILED
        (SimpleNamespace(err_code=-1765328366), LogonCause.LOCKED),  # KRB5KDC_ERR_CLIENT_REVOKED
        (SimpleNamespace(err_code=-1765328361), LogonCause.PASSWORD_EXPIRED),  # KRB5KDC_ERR_KEY_EXP
        (SimpleNamespace(min_code=(1 << 32) - 1765328377), LogonCause.SERVICE_NAME),  # ..._S_PRINCIPAL_UNKNOWN
        (SimpleNamespace(err_code=-1765328347), LogonCause.CLOCK),  # KRB5KRB_AP_ERR_SKEW
        (SimpleNamespace(err_code=-1765328228), LogonCause.KDC),  # KRB5_KDC_UNREACH
        (SimpleNamespace(err_code=-1765328230), LogonCause.KDC),  # KRB5_REALM_UNKNOWN
        (SimpleNamespace(), LogonCause.UNKNOWN),
    ],
)
def test_the_kdcs_number_tells_why(
    serve: Serve,
    connect: Connect,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    error: SimpleNamespace,
    cause: LogonCause,
) -> None:
    class Failure(Exception):
        pass

    def fail(*account: object, **options: object) -> None:
        failure = Failure(f"in any language, {PASSWORD}")
        failure.__dict__.update(vars(error))
        raise failure

    monkeypatch.setattr("certwright.connectors.handshake.importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("certwright.connectors.handshake.spnego.client", fail)
    credential = ServiceCredential.password("svc@corp.example", PASSWORD)

    found = refused(connect(serve(site), credential=credential, scheme=AuthScheme.KERBEROS))

    assert found.cause is cause
    assert PASSWORD not in found.message


def test_nothing_of_the_logon_shows_the_secret() -> None:
    logon = ConnectionLogon(ServiceAddress("ca.corp.example"), CREDENTIAL)

    assert PASSWORD not in repr(logon) + repr(vars(logon))
