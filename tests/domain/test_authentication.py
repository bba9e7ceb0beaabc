"""Who gets in at /certsrv of a CA in a real domain, by which client: Kerberos, NTLM through winbind, Basic.

RFC 4559, RFC 5929, [MS-NLMP] 3.2.5.1.2. Clients and domain controller are other people's; the names of the accounts
are those of the lab: alice is in Staff, which is in All Staff; dave is disabled.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certwright.adcs.request import RequestAttributes
from certwright.auth.keytab import read_keytab
from certwright.auth.mechanism import Refused
from certwright.auth.tickets import Keytab
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.probing import Outcome, Step, probe
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.trust import PinnedFile
from certwright.directory.active_directory.certificate_mappings import accounts_mapped
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.channel_binding import tls_server_end_point
from certwright.server.home import CONFIGURATION, AuthenticationSettings, Home
from tests.support.joined import (
    JoinedServer,
    add_template,
    administrator_of,
    directory_of,
    publish_ca,
    service_dn,
    template_dn,
)
from tests.support.lab import Lab
from tests.support.requests import make_request, rsa_key

gssapi = pytest.importorskip("gssapi", reason="the extra active-directory is not installed")
requests = pytest.importorskip("requests")
requests_gssapi = pytest.importorskip("requests_gssapi", reason="requests-gssapi is not installed")
requests_kerberos = pytest.importorskip("requests_kerberos", reason="requests-kerberos is not installed")
requests_ntlm = pytest.importorskip("requests_ntlm")

PAGE = "/certsrv/certrqus.asp"
TEMPLATE = "AuthenticationTest"
OK = 200
_ENCRYPTION_TYPES = "msDS-SupportedEncryptionTypes"
Ticket = Callable[[str], None]


@pytest.fixture(scope="module")
def server(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    """A CA in the domain whose listeners take Kerberos, NTLM and certificates, with bindings required.

    Everybody in Domain Users may enroll for its one template, whose subject comes from the directory.
    """
    joined = JoinedServer.prepare(tmp_path_factory.mktemp("auth"), ad, "AUT")
    home = Home.open(joined.home)
    authentication = AuthenticationSettings(
        keytab=str(ad.keytab("http")), ntlm_auth=str(ad.program("ntlm_auth")), client_certificates=True
    )
    (joined.home / CONFIGURATION).write_text(replace(home.settings, authentication=authentication).to_toml())
    with directory_of(ad) as directory:
        domain_sid = directory.domain.sid
    stock = {each.cn: each for each in default_templates(domain_sid, new_forest_arcs())}["ClientAuth"]
    with administrator_of(ad) as connection:
        add_template(connection, ad, replace(stock, cn=TEMPLATE, display_name=TEMPLATE), domain_sid)
    publish_ca(ad, joined.ca_name, joined.host, joined.certificate, [TEMPLATE])
    joined.start()
    try:
        assert joined.awaited_events(lambda event: event["event"] == "ntlm_by_winbind"), joined.log[-5:]
        yield joined
    finally:
        joined.stop()
        with administrator_of(ad) as connection:
            connection.delete(service_dn(ad, joined.ca_name))
            connection.delete(template_dn(ad, TEMPLATE))


@pytest.fixture
def allowing(server: JoinedServer) -> Iterator[JoinedServer]:
    """Missing bindings are let in as long as the test lasts."""
    server.cli("ca", "set", "channel-binding=allow", "--override", "ESC8", "--reason", "a test of what it opens")
    try:
        yield server
    finally:
        server.cli("ca", "set", "channel-binding=require")


@pytest.fixture
def ticket(ad: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ticket:
    """Puts the ticket of a user into this test's own cache."""
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cache'}")

    def get(user: str) -> None:
        password = ad.computer_password if user.endswith("$") else ad.user_password
        subprocess.run(
            ["kinit", f"{user}@{ad.realm}"],
            input=f"{password}\n",
            text=True,
            check=True,
            capture_output=True,
            timeout=30,
        )

    return get


def url(server: JoinedServer) -> str:
    return server.https + PAGE


def accepted(server: JoinedServer, since: int) -> dict[str, Any]:
    """The last logon that was let in, with its account, method and binding."""
    return server.awaited_events(lambda event: event["event"] == "logon_accepted", since)[-1]


def refused(server: JoinedServer, since: int) -> str:
    """Why the last logon was refused."""
    return str(server.awaited_events(lambda event: event["event"] == "logon_refused", since)[-1]["reason"])


def get(server: JoinedServer, auth: Any) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url(server), auth=auth, verify=str(server.root_certificate), timeout=30)


def curl(server: JoinedServer, *options: str) -> int:
    """The status curl ends with."""
    done = subprocess.run(
        [
            *("curl", "--silent", "--output", os.devnull, "--write-out", "%{http_code}"),
            *("--cacert", str(server.root_certificate), *options, url(server)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return int(done.stdout or 0)


def initial_token(server: JoinedServer, binding: bytes | None, host: str = "") -> bytes:
    """A raw Kerberos token of whoever has a ticket."""
    target = gssapi.Name(f"HTTP@{host or server.host}", gssapi.NameType.hostbased_service)
    bindings = None if binding is None else gssapi.raw.ChannelBindings(application_data=binding)
    context = gssapi.SecurityContext(
        name=target, usage="initiate", mech=gssapi.MechType.kerberos, channel_bindings=bindings
    )
    token = context.step()
    assert isinstance(token, bytes)
    return token


def send(server: JoinedServer, token: bytes) -> int:
    context: ssl.SSLContext = server.tls_context()
    header = {"Authorization": f"Negotiate {base64.b64encode(token).decode()}"}
    return httpx2.get(url(server), headers=header, verify=context, trust_env=False, timeout=30.0).status_code


def right_binding(server: JoinedServer) -> bytes:
    return tls_server_end_point(shown_certificate(server))


def shown_certificate(server: JoinedServer) -> bytes:
    with (
        socket.create_connection((server.host, server.https_port), 10) as plain,
        server.tls_context().wrap_socket(plain, server_hostname=server.host) as secured,
    ):
        return secured.getpeercert(True) or b""


# -- Kerberos --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["requests-kerberos", "requests-gssapi"])
def test_bound_kerberos_is_let_in(ad: Lab, server: JoinedServer, ticket: Ticket, client: str) -> None:
    """Mutual authentication is asked for, so the client checks our answer too."""
    ticket("alice")
    since = len(server.events())
    auth = {
        "requests-kerberos": lambda: requests_kerberos.HTTPKerberosAuth(
            mutual_authentication=requests_kerberos.REQUIRED
        ),
        "requests-gssapi": lambda: requests_gssapi.HTTPSPNEGOAuth(
            mutual_authentication=requests_gssapi.REQUIRED, channel_bindings="tls-server-end-point"
        ),
    }[client]()
    assert get(server, auth).status_code == OK
    event = accepted(server, since)
    assert (event["account"], event["method"]) == (f"{ad.netbios}\\alice", "Kerberos")
    assert event["binding"] == "matched"


def test_kerberos_without_a_binding_is_refused(server: JoinedServer, ticket: Ticket) -> None:
    ticket("alice")
    since = len(server.events())
    assert get(server, requests_gssapi.HTTPSPNEGOAuth()).status_code == 401
    assert "no channel binding" in refused(server, since)
    assert curl(server, "--negotiate", "--user", ":") == 401


def test_kerberos_without_a_binding_passes_where_it_is_allowed(allowing: JoinedServer, ticket: Ticket) -> None:
    ticket("alice")
    since = len(allowing.events())
    assert curl(allowing, "--negotiate", "--user", ":") == OK
    assert get(allowing, requests_gssapi.HTTPSPNEGOAuth()).status_code == OK
    assert accepted(allowing, since)["binding"] == "absent"


@pytest.mark.parametrize("setting", ["allow", "require"])
def test_a_binding_to_another_certificate_is_refused(
    request: pytest.FixtureRequest, server: JoinedServer, ticket: Ticket, setting: str
) -> None:
    if setting == "allow":
        request.getfixturevalue("allowing")
    ticket("alice")
    since = len(server.events())
    assert send(server, initial_token(server, b"tls-server-end-point:" + bytes(32))) == 401
    assert "another TLS connection" in refused(server, since)


def test_every_name_of_the_keytab_is_taken(ad: Lab, server: JoinedServer, ticket: Ticket) -> None:
    ticket("alice")
    names = {entry.principal for entry in read_keytab(ad.keytab("http"))}
    assert names == {f"HTTP/{alias}.{ad.dns_domain}@{ad.realm}" for alias in ("ca", "pki")}
    token = initial_token(server, right_binding(server), f"pki.{ad.dns_domain}")
    assert send(server, token) == OK


def test_a_computer_is_let_in(ad: Lab, server: JoinedServer, ticket: Ticket) -> None:
    ticket("WS1$")
    since = len(server.events())
    assert send(server, initial_token(server, right_binding(server))) == OK
    assert accepted(server, since)["account"] == f"{ad.netbios}\\WS1$"


def test_a_token_is_taken_once(server: JoinedServer, ticket: Ticket) -> None:
    ticket("alice")
    token = initial_token(server, right_binding(server))
    assert send(server, token) == OK
    since = len(server.events())
    assert send(server, token) == 401
    assert "replay" in refused(server, since)


def test_damaged_tokens_are_refused_and_nothing_else(server: JoinedServer, ticket: Ticket) -> None:
    """Cut off anywhere, changed anywhere, of another service: 401, never a traceback."""
    ticket("alice")
    token = initial_token(server, right_binding(server))
    since = len(server.events())
    step = max(1, len(token) // 12)
    damaged = [token[:length] for length in range(1, len(token), step)]
    damaged += [token[:place] + bytes([token[place] ^ 0x41]) + token[place + 1 :] for place in range(0, 1200, 100)]
    damaged.append(initial_token(server, None, _controller(server)))
    assert {send(server, each) for each in damaged} <= {401, 429}
    assert not [event for event in server.events()[since:] if event["event"] in ("logon_failed", "request_failed")]
    assert not [line for line in server.log if "Traceback" in line]


def test_an_account_disabled_after_its_ticket_was_made_is_refused(
    ad: Lab, server: JoinedServer, ticket: Ticket
) -> None:
    """The ticket is good for hours; the directory knows better."""
    ticket("carol")
    token = initial_token(server, right_binding(server))
    entry = f"dn: CN=carol,CN=Users,{ad.base_dn}\nchangetype: modify\nreplace: userAccountControl\n"
    ad.ldapmodify(f"{entry}userAccountControl: 514\n")
    since = len(server.events())
    try:
        assert send(server, token) == 401
    finally:
        ad.ldapmodify(f"{entry}userAccountControl: 512\n")
    assert refused(server, since) == "account disabled"


def _controller(server: JoinedServer) -> str:
    return f"dc1.{server.host.partition('.')[2]}"


def test_rc4_is_refused_unless_it_is_allowed(
    ad: Lab, server: JoinedServer, ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session key of RC4, which a client may ask for though the ticket itself is of AES. RFC 8429."""
    weak = tmp_path / "krb5.conf"
    text = ad.krb5_conf.read_text().replace(
        "[libdefaults]\n",
        "[libdefaults]\n allow_rc4 = true\n allow_weak_crypto = true\n default_tgs_enctypes = rc4-hmac\n"
        " permitted_enctypes = rc4-hmac aes256-cts aes128-cts\n",
    )
    weak.write_text(text)
    monkeypatch.setenv("KRB5_CONFIG", str(weak))
    owner = f"dn: CN=svc-http,CN=Users,{ad.base_dn}\nchangetype: modify\nreplace: {_ENCRYPTION_TYPES}\n"
    ad.ldapmodify(f"{owner}{_ENCRYPTION_TYPES}: 28\n")
    try:
        ticket("alice")
        token = initial_token(server, None)
    finally:
        ad.ldapmodify(f"{owner}{_ENCRYPTION_TYPES}: 24\n")
    with pytest.raises(Refused, match="not allowed here"):
        Keytab(ad.keytab("http"), tmp_path / "replay").open(token, ())
    assert Keytab(ad.keytab("http"), tmp_path / "other", allow_rc4=True).open(token, ()).client == f"alice@{ad.realm}"


# -- NTLM through winbind --------------------------------------------------------------------------------------------


def test_bound_ntlm_is_let_in(ad: Lab, server: JoinedServer) -> None:
    since = len(server.events())
    auth = requests_ntlm.HttpNtlmAuth(f"{ad.netbios}\\alice", ad.user_password)
    assert get(server, auth).status_code == OK
    event = accepted(server, since)
    assert (event["account"], event["method"], event["binding"]) == (f"{ad.netbios}\\alice", "NTLM", "matched")


def test_helpers_that_die_are_replaced(ad: Lab, server: JoinedServer) -> None:
    auth = requests_ntlm.HttpNtlmAuth(f"{ad.netbios}\\bob", ad.user_password)
    assert get(server, auth).status_code == OK
    helpers = list(helpers_of(server))
    assert helpers
    for pid in helpers:
        os.kill(pid, signal.SIGKILL)
    assert get(server, auth).status_code == OK


def helpers_of(server: JoinedServer) -> Iterator[int]:
    """The processes of ntlm_auth that the server started. proc_pid_stat(5)."""
    assert server.process is not None
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == server.process.pid and b"ntlm-server-1" in (folder / "cmdline").read_bytes():
                yield int(folder.name)


@pytest.mark.parametrize("name", ["alice@{dns}", "{dns}\\alice", "{realm}\\ALICE"])
def test_every_spelling_of_an_account_is_let_in_by_ntlm(ad: Lab, server: JoinedServer, name: str) -> None:
    spelled = name.format(dns=ad.dns_domain, realm=ad.realm)
    assert get(server, requests_ntlm.HttpNtlmAuth(spelled, ad.user_password)).status_code == OK


def test_a_computer_is_let_in_by_ntlm(ad: Lab, server: JoinedServer) -> None:
    auth = requests_ntlm.HttpNtlmAuth(f"{ad.netbios}\\WS1$", ad.computer_password)
    assert get(server, auth).status_code == OK


def test_ntlm_without_a_binding_is_refused(ad: Lab, server: JoinedServer) -> None:
    since = len(server.events())
    auth = requests_ntlm.HttpNtlmAuth(f"{ad.netbios}\\alice", ad.user_password, send_cbt=False)
    assert get(server, auth).status_code == 401
    assert "no channel binding" in refused(server, since)


def test_curls_ntlm_passes_where_bindings_are_allowed_only(ad: Lab, allowing: JoinedServer) -> None:
    account = f"{ad.netbios}\\alice:{ad.user_password}"
    assert curl(allowing, "--ntlm", "--user", account) == OK


@pytest.mark.parametrize(("user", "reason"), [("alice", "winbind: "), ("dave", "winbind: "), ("nobody", "winbind: ")])
def test_what_the_domain_refuses_is_refused(ad: Lab, server: JoinedServer, user: str, reason: str) -> None:
    """The words are the domain's, in the log; the answer says nothing of them."""
    since = len(server.events())
    password = "wrong" if user == "alice" else ad.user_password
    answer = get(server, requests_ntlm.HttpNtlmAuth(f"{ad.netbios}\\{user}", password))
    assert answer.status_code == 401
    found = refused(server, since)
    assert reason in found
    assert found.removeprefix("winbind: ") not in answer.text
    assert user != "dave" or "disabled" in found


def test_a_browser_is_let_in_by_bound_ntlm(ad: Lab, server: JoinedServer) -> None:
    """Chromium, which names the server it means with its port. Our root is not in its store: the key is excused."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    shown = x509.load_der_x509_certificate(shown_certificate(server))
    spki = shown.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    flags = ["--no-sandbox", "--disable-gpu", "--no-proxy-server", f"--ignore-certificate-errors-spki-list={pin}"]
    since = len(server.events())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the driver's own event loop
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=flags)
            account = {"username": f"{ad.netbios}\\alice", "password": ad.user_password}
            page = browser.new_context(http_credentials=account).new_page()
            answer = page.goto(url(server))
            assert answer is not None
            assert answer.status == OK
            browser.close()
    event = accepted(server, since)
    assert (event["method"], event["binding"]) == ("NTLM", "matched")


# -- Basic -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{netbios}\\alice", "alice@{dns}", "alice"])
def test_basic_is_checked_by_the_domain(ad: Lab, server: JoinedServer, name: str) -> None:
    spelled = name.format(netbios=ad.netbios, dns=ad.dns_domain)
    with server.client(spelled, ad.user_password) as client:
        assert client.get(PAGE).status_code == OK


def test_a_disabled_account_is_refused_and_the_log_says_so(ad: Lab, server: JoinedServer) -> None:
    since = len(server.events())
    with server.client(f"{ad.netbios}\\dave", ad.user_password) as client:
        answer = client.get(PAGE)
    assert answer.status_code == 401
    assert refused(server, since) == "account disabled"
    assert "disabled" not in answer.text


def test_a_disabled_account_gets_no_ticket(ticket: Ticket) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        ticket("dave")
    assert "revoked" in error.value.stderr


def test_our_own_administrator_still_logs_on(server: JoinedServer) -> None:
    with server.client(".\\Administrator", server.password) as client:
        assert client.get(PAGE).status_code == OK


# -- many at a time --------------------------------------------------------------------------------------------------


def test_handshakes_from_one_address_do_not_meet(ad: Lab, server: JoinedServer) -> None:
    """alice and bob at once, many times: everybody is who they are."""
    since = len(server.events())

    def log_on(user: str) -> int:
        return int(get(server, requests_ntlm.HttpNtlmAuth(f"{ad.netbios}\\{user}", ad.user_password)).status_code)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(log_on, 8 * ["alice", "bob"])) == {OK}
    whole = server.awaited_events(lambda _: len(accounts_since(server, since)) >= 16, since)
    assert whole
    accounts = accounts_since(server, since)
    assert sorted(accounts) == 8 * [f"{ad.netbios}\\alice"] + 8 * [f"{ad.netbios}\\bob"]


def accounts_since(server: JoinedServer, since: int) -> list[str]:
    return [event["account"] for event in server.events()[since:] if event["event"] == "logon_accepted"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_challenge_offers_each_scheme_in_a_header_of_its_own(server: JoinedServer) -> None:
    done = subprocess.run(
        ["curl", "--silent", "--head", "--cacert", str(server.root_certificate), url(server)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    offered = [line.partition(":")[2].split()[0] for line in done.stdout.splitlines() if line.startswith("www-")]
    assert offered == ["Negotiate", "NTLM", "Basic"]


# -- enrollment ------------------------------------------------------------------------------------------------------


def enroll(server: JoinedServer, auth: Any) -> CertificateView:
    """A certificate for the account that logs on, by the pages, as a script does it."""
    request = make_request(rsa_key())
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(server.root_certificate)
        session.auth = auth
        form = {
            "Mode": "newreq",
            "CertRequest": armor.armor(armor.CERTIFICATE_REQUEST, request),
            "CertAttrib": f"CertificateTemplate:{TEMPLATE}",
            "TargetStoreFlags": "0",
            "SaveCert": "yes",
        }
        page = session.post(f"{server.https}/certsrv/certfnsh.asp", data=form, timeout=60).text
        found = re.search(r"certnew\.cer\?ReqID=(\d+)&", page)
        assert found is not None, page
        answer = session.get(f"{server.https}/certsrv/certnew.cer?ReqID={found[1]}&Enc=bin", timeout=60)
        return CertificateView.parse(answer.content)


def bound_kerberos() -> Any:
    return requests_gssapi.HTTPSPNEGOAuth(channel_bindings="tls-server-end-point")


def test_alice_enrolls_over_bound_kerberos(ad: Lab, server: JoinedServer, ticket: Ticket) -> None:
    """Subject and SID are the directory's; the SID is what the domain's own tool says."""
    ticket("alice")
    certificate = enroll(server, bound_kerberos())
    assert certificate.sid == ad.on_controller("wbinfo", "-n", "alice").split()[0]
    assert certificate.subject_name.endswith(f"CN=alice,CN=Users,{ad.base_dn}")


# -- client certificates ---------------------------------------------------------------------------------------------


def by_certificate(server: JoinedServer, certificate: CertificateView, folder: Path) -> int:
    """The status of a page for a client that shows this certificate and says nothing else."""
    file = folder / "client.pem"
    key = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file.write_text(key + armor.armor("CERTIFICATE", certificate.der))
    context: ssl.SSLContext = server.tls_context()
    context.load_cert_chain(file)
    return httpx2.get(url(server), verify=context, trust_env=False, timeout=30.0).status_code


def test_a_certificate_of_ours_logs_its_account_on_until_it_is_revoked(
    ad: Lab, server: JoinedServer, ticket: Ticket, tmp_path: Path
) -> None:
    ticket("alice")
    certificate = enroll(server, bound_kerberos())
    since = len(server.events())
    assert by_certificate(server, certificate, tmp_path) == OK
    event = accepted(server, since)
    assert (event["account"], event["method"]) == (f"{ad.netbios}\\alice", "Certificate")
    server.cli("certificate", "revoke", certificate.serial_number)
    assert by_certificate(server, certificate, tmp_path) == 401
    assert "is revoked" in refused(server, since)


def test_accounts_are_found_by_their_strong_mappings(ad: Lab) -> None:
    """Values of any case, as the directory compares them."""
    value = "X509:<SKI>0123456789abcdef0123456789abcdef01234567"
    entry = f"dn: CN=bob,CN=Users,{ad.base_dn}\nchangetype: modify\n"
    ad.ldapmodify(f"{entry}add: altSecurityIdentities\naltSecurityIdentities: {value}\n")
    try:
        with directory_of(ad) as directory:
            (bob,) = accounts_mapped(directory, ["X509:<SKI>ff", value.upper().replace("X509:", "X509:")])
            assert bob.account == f"{ad.netbios}\\bob"
            assert accounts_mapped(directory, ["X509:<SKI>ff", "X509:<I>*"]) == []
            assert accounts_mapped(directory, []) == ()
    finally:
        ad.ldapmodify(f"{entry}delete: altSecurityIdentities\n")


# -- our own client --------------------------------------------------------------------------------------------------


def device_user(ad: Lab, kind: str) -> ServiceCredential:
    if kind == "keytab":
        return ServiceCredential.keytab("svc-enroll", ad.keytab("svc-enroll").read_bytes(), ad.dns_domain)
    return ServiceCredential.password("svc-enroll", ad.service_password, ad.dns_domain)


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [("keytab", AuthScheme.KERBEROS), ("password", AuthScheme.KERBEROS), ("password", AuthScheme.NTLM)],
)
def test_the_manager_orders_as_a_device_user_of_the_domain(
    ad: Lab, server: JoinedServer, kind: str, scheme: AuthScheme
) -> None:
    since = len(server.events())
    connection = CertsrvConnection(
        ServiceAddress(server.host, server.https_port, scheme),
        device_user(ad, kind),
        PinnedFile(server.root_certificate.read_text()),
    )
    response = connection.submit(make_request(rsa_key()), RequestAttributes.parse(f"CertificateTemplate:{TEMPLATE}"))
    assert response.is_issued, response.message
    event = accepted(server, since)
    assert event["account"] == f"{ad.netbios}\\svc-enroll"
    assert (event["method"], event["binding"]) == (scheme.label, "matched")


@pytest.mark.parametrize("scheme", [AuthScheme.KERBEROS, AuthScheme.NTLM])
def test_testing_a_service_behind_something_that_ends_tls_names_the_binding(
    ad: Lab, server: JoinedServer, scheme: AuthScheme
) -> None:
    """A relay with a certificate of its own, trusted and of the right name: the logon is bound to that one."""
    since = len(server.events())
    with relay(ad, server) as port:
        steps = probe(
            ServiceAddress(server.host, port, scheme), device_user(ad, "password"), PinnedFile(ad.tls_ca.read_text())
        )
    found = {each.step: each for each in steps}
    assert found[Step.TLS].outcome is Outcome.OK
    assert found[Step.AUTHENTICATION].outcome is Outcome.FAILED
    assert "the channel binding is refused" in found[Step.AUTHENTICATION].fix
    assert "another TLS connection" in refused(server, since)


@contextmanager
def relay(ad: Lab, server: JoinedServer) -> Iterator[int]:
    """A TLS server that passes everything on to ours, on the port it yields."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ad.folder / "tls" / "ca.pem", ad.folder / "tls" / "ca.key")
    listener = socket.create_server((ad.host_address, 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threading.Thread(target=carry, args=(plain,), daemon=True).start()

    def carry(plain: socket.socket) -> None:
        """Both directions in one thread: an SSL object is not to be read and written by two at a time."""
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as front:
            upstream = socket.create_connection((server.host, server.https_port), 10)
            with server.tls_context().wrap_socket(upstream, server_hostname=server.host) as back:
                other = {front: back, back: front}
                while True:
                    ready = [each for each in other if each.pending()] or select.select(list(other), [], [], 30)[0]
                    for source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        other[source].sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
