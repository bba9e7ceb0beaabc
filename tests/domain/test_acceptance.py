"""What a domain expects of its enterprise CA, from end to end: bindings required, the 33 defaults, published.

Made as an administrator makes it, by the command line; used with Kerberos tickets of the domain's own accounts.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwright.pki import armor
from certwright.server.home import CONFIGURATION, AuthenticationSettings, Home
from tests.domain.test_enrollment import alternative_names, sid_in, sid_of
from tests.domain.test_publication import as_administrator, ldapsearch
from tests.support.joined import JoinedServer, administrator_of, join, services_dn, template_dn
from tests.support.lab import SCRIPT, Lab
from tests.support.requests import UPN, make_request, name, rsa_key

requests = pytest.importorskip("requests")
requests_gssapi = pytest.importorskip("requests_gssapi", reason="requests-gssapi is not installed")

NETBIOS = "ACC"
Account = Callable[[str, Path], Any]


@pytest.fixture(scope="module")
def server(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    folder = tmp_path_factory.mktemp("acceptance")
    prepared = JoinedServer.prepare(folder, ad, NETBIOS)
    home = Home.open(prepared.home)
    authentication = AuthenticationSettings(keytab=str(ad.keytab("http")))
    (prepared.home / CONFIGURATION).write_text(replace(home.settings, authentication=authentication).to_toml())
    administrator = as_administrator(ad, folder)
    prepared.cli("template", *administrator, "install-defaults")
    prepared.cli("domain", "publish", *administrator)
    prepared.cli("template", *administrator, "publish", "Workstation")
    running = prepared.start()
    yield prepared
    running.stop()
    prepared.cli("domain", "unpublish", *administrator)
    with administrator_of(ad) as connection:
        base = services_dn(ad)
        for entry in ldapsearch(ad, f"CN=Certificate Templates,{base}", "(objectClass=pKICertificateTemplate)", "cn"):
            connection.delete(entry["dn"][0])
        for entry in ldapsearch(ad, f"CN=OID,{base}", "(flags=1)", "cn"):
            connection.delete(entry["dn"][0])


@pytest.fixture
def as_account(ad: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put the ticket of an account into this test's own cache."""
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cache'}")
    monkeypatch.setenv("KRB5_CONFIG", str(ad.krb5_conf))

    def get(account: str) -> None:
        password = ad.computer_password if account.endswith("$") else ad.user_password
        subprocess.run(
            ["kinit", f"{account}@{ad.realm}"],
            input=f"{password}\n",
            text=True,
            check=True,
            capture_output=True,
            env=dict(ad.environment) | {"KRB5CCNAME": f"FILE:{tmp_path / 'cache'}"},
        )

    return get


def bound() -> Any:
    return requests_gssapi.HTTPSPNEGOAuth(channel_bindings="tls-server-end-point")


def ask(server: JoinedServer, template: str, auth: Any) -> tuple[x509.Certificate | None, Any]:
    """One request at /certsrv: the certificate, or none, and the page."""
    request = make_request(rsa_key(), subject=name(("CN", "nobody gets this name")))
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(server.root_certificate)
        session.auth = auth
        form = {"Mode": "newreq", "CertRequest": armor.armor(armor.CERTIFICATE_REQUEST, request)}
        form |= {"CertAttrib": f"CertificateTemplate:{template}", "TargetStoreFlags": "0", "SaveCert": "yes"}
        page = session.post(f"{server.https}/certsrv/certfnsh.asp", data=form, timeout=60)
        found = re.search(r"certnew\.cer\?ReqID=(\d+)&", page.text)
        if found is None:
            return None, page
        der = session.get(f"{server.https}/certsrv/certnew.cer?ReqID={found[1]}&Enc=bin", timeout=60).content
    return x509.load_der_x509_certificate(der), page


def test_alice_gets_a_certificate_with_subject_upn_and_sid_of_the_directory(
    ad: Lab, server: JoinedServer, as_account: Callable[[str], None]
) -> None:
    """Template User, over Kerberos, bindings required."""
    as_account("alice")
    certificate, page = ask(server, "User", bound())
    assert certificate is not None, page.text
    assert f"CN=alice,CN=Users,{ad.base_dn}" in certificate.subject.rfc4514_string()
    names = alternative_names(certificate).get_values_for_type(x509.OtherName)
    assert [(other.type_id.dotted_string, other.value[2:].decode()) for other in names] == [
        (UPN, f"alice@{ad.dns_domain}")
    ]
    assert sid_in(certificate) == sid_of(ad, "alice")


def test_bob_without_enroll_is_denied_with_the_code(
    ad: Lab, server: JoinedServer, as_account: Callable[[str], None]
) -> None:
    as_account("bob")
    certificate, page = ask(server, "WebServer", bound())
    assert certificate is None
    assert "0x80094012" in page.text


def test_a_wrong_or_absent_binding_is_refused(
    server: JoinedServer, as_account: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_account("alice")
    certificate, page = ask(server, "User", requests_gssapi.HTTPSPNEGOAuth())
    assert (certificate, page.status_code) == (None, 401)
    raw = requests_gssapi.gssapi_.gssapi.raw
    real = raw.ChannelBindings
    monkeypatch.setattr(
        raw, "ChannelBindings", lambda application_data: real(application_data=application_data[:-1] + b"?")
    )
    certificate, page = ask(server, "User", bound())
    assert (certificate, page.status_code) == (None, 401)


def test_a_computer_enrolls_for_workstation(ad: Lab, server: JoinedServer, as_account: Callable[[str], None]) -> None:
    as_account("WS1$")
    certificate, page = ask(server, "Workstation", bound())
    assert certificate is not None, page.text
    assert alternative_names(certificate).get_values_for_type(x509.DNSName) == [f"ws1.{ad.dns_domain}"]
    assert sid_in(certificate) == sid_of(ad, "WS1$")


def test_a_template_edited_with_ldapmodify_is_honoured_at_the_next_request(
    ad: Lab, server: JoinedServer, as_account: Callable[[str], None]
) -> None:
    as_account("alice")
    before, page = ask(server, "User", bound())
    assert before is not None, page.text
    edit = f"dn: {template_dn(ad, 'User')}\nchangetype: modify\nreplace: msPKI-Minimal-Key-Size\n"
    ad.ldapmodify(f"{edit}msPKI-Minimal-Key-Size: 4096\n")
    try:
        after, page = ask(server, "User", bound())
        assert after is None
        assert "0x80094811" in page.text  # CERTSRV_E_KEY_LENGTH
    finally:
        ad.ldapmodify(f"{edit}msPKI-Minimal-Key-Size: 2048\n")


def test_an_independent_reader_lists_the_ca_and_its_templates(ad: Lab, server: JoinedServer) -> None:
    (service,) = ldapsearch(
        ad, services_dn(ad), f"(&(objectClass=pKIEnrollmentService)(cn={server.ca_name}))", "certificateTemplates"
    )
    templates = {
        entry["cn"][0] for entry in ldapsearch(ad, services_dn(ad), "(objectClass=pKICertificateTemplate)", "cn")
    }
    assert {"User", "Workstation"} <= set(service["certificateTemplates"]) <= templates
    assert len(templates) == 33


def test_the_security_audit_prints_nothing_on_the_defaults(server: JoinedServer) -> None:
    done = server.run("audit", "security")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.findall(r"^(ESC\d+) not visible", done.stderr, re.MULTILINE) == ["ESC10"]  # no directory shows it


def told(page: Any) -> str:
    """What a page says instead of a certificate."""
    body = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>|<[^>]+>", " ", page.text)
    return f"{page.status_code} {' '.join(body.split())[:600]}"


# -- a controller that dies ------------------------------------------------------------------------------------------

_RELAY = """
import asyncio, sys
async def relay(reader, writer):
    other_reader, other_writer = await asyncio.open_connection(sys.argv[1], 389)
    async def pump(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()
    await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))
async def main():
    server = await asyncio.start_server(relay, sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
_RELAY_PORT = 3890


@contextmanager
def another_controller(ad: Lab) -> Iterator[subprocess.Popen[str]]:
    """A second way to the domain, at another port of the controller's address, which can die by itself."""
    process = subprocess.Popen(
        [SCRIPT, "exec", ad.folder, "/usr/bin/python3", "-c", _RELAY, ad.controller_address, str(_RELAY_PORT)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "AD_LAB_REALM": ad.realm, "AD_LAB_NETBIOS": ad.netbios},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        for each in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(process.pid, each)
            except ProcessLookupError:
                break
        process.communicate(timeout=10)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "silent"])
def test_a_controller_that_dies_in_mid_enrollment_is_replaced_by_another(
    ad: Lab, server: JoinedServer, as_account: Callable[[str], None], death: signal.Signals
) -> None:
    """Every request gets its certificate, none is lost or answered twice, and the log names the cause."""
    as_account("alice")
    first = f"{ad.controller}:{_RELAY_PORT}"
    with another_controller(ad) as controller:
        server.stop()
        join(server.home, ad, controllers=(first, ad.controller), cache_seconds=0, timeout_seconds=2)
        server.start()
        before = {row["request_id"] for row in server.json("request", "list")}
        since, under_way = len(server.log), threading.Barrier(4, timeout=60)

        def enroll_on(_: int) -> list[str]:
            answers = []
            for number in range(8):
                if number == 2:
                    under_way.wait()  # two before it dies, six while it does and after
                certificate, page = ask(server, "User", bound())
                answers.append("issued" if certificate is not None else told(page))
            return answers

        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(enroll_on, number) for number in range(3)]
            under_way.wait()
            os.killpg(controller.pid, death)
            answers = [answer for each in asked for answer in each.result(timeout=120)]
    after = {row["request_id"] for row in server.json("request", "list")} - before
    assert set(answers) == {"issued"}
    assert len(after) == len(answers) == 24
    said = server.log[since:]
    assert not [line for line in said if "Traceback" in line]
    assert [line for line in said if "domain_controller_down" in line], said[-5:]
