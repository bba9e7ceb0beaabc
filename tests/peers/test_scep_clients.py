"""Devices' own clients against a running NDES: certmonger and strongSwan's pki, over plain HTTP and HTTPS.

Both enroll by a one-time challenge and renew by their certificate; certmonger also waits for an approval.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from certwright.endpoints.plain import Reply
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.wire.scep import PkiMessage
from tests.support import programs
from tests.support.installation import PASSWORD, GateTemplates, People
from tests.support.scep import Device
from tests.support.server import DOMAIN, NETBIOS, RunningServer

pytestmark = pytest.mark.peer

PATIENCE: Final = 30.0
_SESSION: Final = Path("/usr/lib/certmonger/certmonger-session")


def url(server: RunningServer) -> str:
    return f"{server.http}/certsrv/mscep/mscep.dll"


def challenge(server: RunningServer, *options: str) -> str:
    return server.cli("ndes", "challenge", *options).strip()


def read(path: Path) -> CertificateView:
    return CertificateView.parse(armor.dearmor(path.read_bytes()))


# -- strongSwan ------------------------------------------------------------------------------------------------------


@dataclass
class StrongSwan:
    """`pki --scep` in a folder of its own."""

    server: RunningServer
    folder: Path

    def run(self, *arguments: str | Path) -> bytes:
        program = shutil.which("pki")
        if program is None:
            pytest.skip("strongswan-pki is not installed")
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=60, cwd=self.folder)
        said = done.stderr.decode("utf-8", "replace")
        if "no capable fetcher" in said:
            pytest.skip("libstrongswan-extra-plugins is not installed: pki fetches nothing")
        assert done.returncode == 0, said[-2000:]
        return done.stdout

    def certificates(self) -> None:
        """GetCACert, with which it also verifies the chain."""
        self.run("--scepca", "--url", url(self.server), "--caout", "ca.pem", "--raout", "ra.pem", "--outform", "pem")

    def usable_for(self, usage: str) -> Path:
        for path in (self.folder / "ra.pem", self.folder / "ra-2.pem"):
            if usage in programs.openssl("x509", "-in", path, "-noout", "-ext", "keyUsage"):
                return path
        raise AssertionError(usage)

    def key(self, name: str) -> Path:
        path = self.folder / name
        path.write_bytes(self.run("--gen", "--type", "rsa", "--size", "2048", "--outform", "pem"))
        return path

    def enroll(self, name: str, key: Path, *more: str | Path) -> Path:
        made = self.folder / name
        host = f"vpn1.{DOMAIN}"
        made.write_bytes(
            self.run(
                *("--scep", "--url", url(self.server), "--in", key, "--dn", f"CN={host}", "--san", host),
                *("--cacert-enc", self.usable_for("Key Encipherment")),
                *("--cacert-sig", self.usable_for("Digital Signature")),
                *("--cacert", "ca.pem", "--cacert", "ca-1.pem", "--outform", "pem", *more),
            )
        )
        return made


def test_strongswan_enrolls_and_renews(ndes: RunningServer, tmp_path: Path) -> None:
    client = StrongSwan(ndes, tmp_path)
    client.certificates()
    first_key = client.key("key.pem")

    first = client.enroll("first.pem", first_key, "--password", challenge(ndes))
    again = client.enroll("again.pem", first_key, "--cert", first, "--key", first_key)
    second_key = client.key("second.key")
    rekeyed = client.enroll("rekeyed.pem", second_key, "--cert", again, "--key", first_key)

    issued = [read(path) for path in (first, again, rekeyed)]
    assert len({each.serial for each in issued}) == 3
    assert {str(name) for each in issued for name in each.alternative_names} == {f"DNS:vpn1.{DOMAIN}"}
    assert issued[0].public_key_info == issued[1].public_key_info != issued[2].public_key_info


@pytest.mark.parametrize("cipher", ["aes", "des3"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_strongswan_chooses_what_it_likes(ndes: RunningServer, tmp_path: Path, cipher: str, digest: str) -> None:
    client = StrongSwan(ndes, tmp_path)
    client.certificates()
    key = client.key("key.pem")
    made = client.enroll("made.pem", key, "--password", challenge(ndes), "--cipher", cipher, "--digest", digest)
    assert read(made).common_name == f"vpn1.{DOMAIN}"


def test_strongswan_waits_for_an_approval_and_collects(ndes: RunningServer, tmp_path: Path) -> None:
    client = StrongSwan(ndes, tmp_path)
    client.certificates()
    key = client.key("key.pem")
    ndes.cli("ndes", "set", f"general-purpose-template={GateTemplates.APPROVAL}")
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(
                client.enroll,
                "made.pem",
                key,
                "--password",
                challenge(ndes),
                "--interval",
                "1",
                "--maxpolltime",
                "30",
            )
            request = awaited_request(ndes, f"CN=vpn1.{DOMAIN}")
            ndes.cli("request", "issue", request, "--as", People.OFFICER)
            made = waiting.result()
    finally:
        ndes.cli("ndes", "set", "general-purpose-template=WebServer")
    assert read(made).common_name == f"vpn1.{DOMAIN}"


def awaited_request(server: RunningServer, subject: str) -> str:
    """The number of the request of a subject that waits for an approval."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for row in server.json("ndes", "list"):
            if row["state"] == "pending" and row["subject"] == subject:
                return str(row["request"])
    raise AssertionError(f"nothing of {subject} waits")


# -- certmonger ------------------------------------------------------------------------------------------------------


class Certmonger:
    """A certmonger of its own on a message bus of its own."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        for program in (_SESSION, Path("/usr/bin/dbus-daemon"), Path("/usr/bin/getcert")):
            if not program.exists():
                pytest.skip(f"{program.name} is not installed")
        self.folder = folder
        (folder / ".config" / "certmonger" / "cas").mkdir(parents=True)
        (folder / ".config" / "certmonger" / "requests").mkdir()
        self._environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self._bus = subprocess.Popen(
            ["/usr/bin/dbus-daemon", "--session", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )
        assert self._bus.stdout is not None
        self._environment["DBUS_SESSION_BUS_ADDRESS"] = self._bus.stdout.readline().strip()
        self._log = (folder / "log").open("wb")
        self._daemon = subprocess.Popen(
            [_SESSION, "-n", "-d", "1"], stdout=self._log, stderr=self._log, env=self._environment
        )
        self._until(lambda: "REQUEST" in self.getcert("list", check=False).upper(), "the daemon answers")
        self.getcert("add-scep-ca", "-c", "certwright", "-u", url(server))
        self._until(lambda: "thumbprint" in self.getcert("list-cas", "-c", "certwright"), "the CA is known")

    def close(self) -> None:
        for process in (self._daemon, self._bus):
            process.terminate()
            process.wait(10)
        assert self._bus.stdout is not None
        self._bus.stdout.close()
        self._log.close()

    def getcert(self, command: str, *arguments: str | Path, check: bool = True) -> str:
        done = subprocess.run(
            ["/usr/bin/getcert", command, "-s", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env=self._environment,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def request(self, name: str, host: str, password: str) -> Path:
        certificate = self.folder / f"{name}.pem"
        self.getcert(
            "request",
            *("-c", "certwright", "-I", name, "-k", self.folder / f"{name}.key", "-f", certificate),
            *("-N", f"CN={host}", "-D", host, "-L", password),
        )
        return certificate

    def status(self, name: str) -> str:
        found = re.search(r"status: (\S+)", self.getcert("list", "-i", name))
        return found[1] if found else ""

    def awaited(self, name: str, *wanted: str) -> None:
        self._until(lambda: self.status(name) in wanted, f"{name} is {' or '.join(wanted)}")

    def _until(self, happened: object, what: str) -> None:
        assert callable(happened)
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > deadline:
                log = (self.folder / "log").read_text("utf-8", "replace")
                raise AssertionError(f"not in time: {what}\n{self.getcert('list', check=False)}\n{log[-3000:]}")
            time.sleep(0.1)


@pytest.fixture
def certmonger(ndes: RunningServer, tmp_path: Path) -> Iterator[Certmonger]:
    daemon = Certmonger(ndes, tmp_path)
    yield daemon
    daemon.close()


def test_certmonger_enrolls_and_renews(ndes: RunningServer, certmonger: Certmonger) -> None:
    path = certmonger.request("router", f"router9.{DOMAIN}", challenge(ndes, "--name", f"router9.{DOMAIN}"))
    certmonger.awaited("router", "MONITORING")
    first = read(path)
    assert first.common_name == f"router9.{DOMAIN}"

    certmonger.getcert("resubmit", "-i", "router", "-w")

    certmonger.awaited("router", "MONITORING")
    second = read(path)
    assert second.serial != first.serial
    assert second.public_key_info == first.public_key_info
    programs.openssl("verify", "-CAfile", ndes.root_certificate, "-untrusted", _issuing(ndes, certmonger), path)


def _issuing(server: RunningServer, certmonger: Certmonger) -> Path:
    """The issuing CA's certificate, from where the certificate says."""
    path = certmonger.folder / "issuing.pem"
    found = Device(lambda method, query, body: _asked(server, query)).bundle()[2]
    path.write_text(armor.armor(armor.CERTIFICATE, found.der))
    return path


def _asked(server: RunningServer, query: bytes) -> Reply:
    with urllib.request.urlopen(f"{url(server)}/PKICLIENT.EXE?{query.decode()}", timeout=20) as answer:
        return Reply(answer.status, b"", answer.read())


def poll_message(certmonger: Certmonger, host: str) -> Path:
    """The CertPoll that certmonger has made for a request, out of its state."""
    for path in (certmonger.folder / ".config/certmonger/requests").iterdir():
        found = re.search(r"^scep_gic=((?:.*\n)(?: .*\n)*)", path.read_text(), re.MULTILINE)
        if found is not None and host in path.read_text():
            message = certmonger.folder / "poll.pem"
            message.write_text("\n".join(line.strip() for line in found[1].splitlines()) + "\n")
            return message
    raise AssertionError(f"certmonger has no poll for {host}")


def poll(ndes: RunningServer, certmonger: Certmonger, message: Path) -> tuple[int, str]:
    """certmonger's helper, asked to poll: it exits by 0 with a certificate and by 1 while there is none."""
    names = ("ra-sign", "ra", "ca", "root")
    bundle = Device(lambda method, query, body: _asked(ndes, query)).bundle()
    files = {name: certmonger.folder / f"{name}.pem" for name in names}
    for (_, path), certificate in zip(files.items(), bundle, strict=True):
        path.write_text(armor.armor(armor.CERTIFICATE, certificate.der))
    between = certmonger.folder / "between.pem"
    between.write_text(files["ca"].read_text() + files["ra-sign"].read_text())
    done = subprocess.run(
        [
            *(str(_SESSION.parent / "scep-submit"), "-v", "-u", url(ndes), "-r", str(files["ra"])),
            *("-R", str(files["root"]), "-N", str(files["root"]), "-I", str(between), "-g", str(message)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env={"CERTMONGER_OPERATION": "POLL", "PATH": "/usr/bin:/bin"},
    )
    return done.returncode, done.stdout + done.stderr


def test_certmongers_poll_is_answered_whomever_it_names(ndes: RunningServer, certmonger: Certmonger) -> None:
    """It names the root. By itself it sends its request again; its helper polls."""
    ndes.cli("ndes", "set", f"general-purpose-template={GateTemplates.APPROVAL}")
    try:
        host = f"camera4.{DOMAIN}"
        certmonger.request("camera", host, challenge(ndes))
        certmonger.awaited("camera", "CA_WORKING")
        message = poll_message(certmonger, host)
        code, said = poll(ndes, certmonger, message)
        assert code == 1, said
        assert 'SCEP status is "pending"' in said
        ndes.cli("request", "issue", awaited_request(ndes, f"CN={host}"), "--as", People.OFFICER)
        code, said = poll(ndes, certmonger, message)
        assert code == 0, said
        assert 'SCEP status is "success"' in said
    finally:
        ndes.cli("ndes", "set", "general-purpose-template=WebServer")


def test_certmonger_renews_with_a_new_key(ndes: RunningServer, certmonger: Certmonger) -> None:
    path = certmonger.request("switch", f"switch2.{DOMAIN}", challenge(ndes))
    certmonger.awaited("switch", "MONITORING")
    first = read(path)

    certmonger.getcert("rekey", "-i", "switch", "-w")

    certmonger.awaited("switch", "MONITORING")
    second = read(path)
    assert second.serial != first.serial
    assert second.public_key_info != first.public_key_info


def test_certmonger_waits_for_an_approval_and_collects(ndes: RunningServer, certmonger: Certmonger) -> None:
    ndes.cli("ndes", "set", f"general-purpose-template={GateTemplates.APPROVAL}")
    try:
        path = certmonger.request("camera", f"camera3.{DOMAIN}", challenge(ndes))
        certmonger.awaited("camera", "CA_WORKING")
        assert not path.exists()
        (row,) = [row for row in ndes.json("ndes", "list") if row["subject"] == f"CN=camera3.{DOMAIN}"]
        assert row["state"] == "pending"

        ndes.cli("request", "issue", str(row["request"]), "--as", People.OFFICER)
        certmonger.getcert("refresh", "-i", "camera")

        certmonger.awaited("camera", "MONITORING")
        assert read(path).common_name == f"camera3.{DOMAIN}"
    finally:
        ndes.cli("ndes", "set", "general-purpose-template=WebServer")


# -- the page --------------------------------------------------------------------------------------------------------


def page(server: RunningServer, account: str, **headers: str) -> str:
    """As scrapers get it: with a logon, decoded from UTF-16."""
    handler = urllib.request.HTTPSHandler(context=server.tls_context())
    request = urllib.request.Request(f"{server.https}/CertSrv/mscep_admin/")
    credentials = base64.b64encode(f"{NETBIOS}\\{account}:{PASSWORD}".encode()).decode()
    request.add_header("Authorization", f"Basic {credentials}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    with urllib.request.build_opener(handler).open(request, timeout=20) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        body: bytes = answer.read()
    return body.decode("utf-16")


def test_the_page_has_the_words_that_scrapers_look_for(ndes: RunningServer, tmp_path: Path) -> None:
    text = page(ndes, People.ADMINISTRATOR)

    found = re.search(r"The enrollment challenge password is: <B> (?P<password>\S*)", text)
    assert found is not None
    assert [each for each in text.split() if re.fullmatch("[A-F0-9]{16}", each)] == [found["password"]]
    assert "This password can be used only once and will expire within 60 minutes." in text
    thumbprint = re.search(r"CA certificate is: <B> ((?:[0-9A-F]{8} ){4})</B>", text)
    assert thumbprint is not None
    client = StrongSwan(ndes, tmp_path)
    client.certificates()
    assert read(client.enroll("made.pem", client.key("key.pem"), "--password", found["password"])).serial


def test_the_page_gives_nothing_to_who_may_not(ndes: RunningServer) -> None:
    text = page(ndes, People.PLAIN)
    assert "You do not have sufficient permission to enroll with SCEP.  Please contact your system" in text
    assert "password is" not in text


@pytest.mark.parametrize("header", [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Purpose": "prefetch"}])
def test_no_other_site_and_no_prefetch_uses_up_a_challenge(ndes: RunningServer, header: dict[str, str]) -> None:
    before = ndes.json("ndes", "list", "--challenges")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        page(ndes, People.ADMINISTRATOR, **header)
    assert ndes.json("ndes", "list", "--challenges") == before


def test_the_page_wants_a_logon(ndes: RunningServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{ndes.https}/certsrv/mscep_admin", context=ndes.tls_context(), timeout=20)


def raw(server: RunningServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.http_port), 20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_device_of_http_1_0_sends_a_long_message_in_the_address(ndes: RunningServer) -> None:
    """As Cisco IOS does: no Host, everything in one line, the connection closed after the answer."""
    device = Device(lambda method, query, body: _asked(ndes, query), f"ios.{DOMAIN}", 77)
    message = device.message(device.request(challenge(ndes)))
    encoded = quote(base64.b64encode(message), safe="")
    line = f"GET /certsrv/mscep/mscep.dll/pkiclient.exe?operation=PKIOperation&message={encoded} HTTP/1.0\r\n\r\n"

    head, _, body = raw(ndes, line.encode()).partition(b"\r\n\r\n")

    assert b" 200 " in head.split(b"\r\n")[0]
    assert b"Content-Type: application/x-pki-message" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert device.read(body, PkiMessage.parse(message)).certificate.common_name == f"ios.{DOMAIN}"


def test_a_long_message_is_not_read(ndes: RunningServer) -> None:
    size = 1 << 20
    head = (
        f"POST /certsrv/mscep/mscep.dll?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    )
    assert raw(ndes, head.encode()).startswith(b"HTTP/1.1 413 ")


def test_devices_are_answered_over_https_too(ndes: RunningServer) -> None:
    context: ssl.SSLContext = ndes.tls_context()
    for path in ("/certsrv/mscep/", "/CERTSRV/MSCEP/MSCEP.DLL", "/certsrv/mscep/mscep.dll/pkiclient.exe"):
        with urllib.request.urlopen(
            f"{ndes.https}{path}?operation=GetCACaps&message=x", context=context, timeout=20
        ) as answer:
            assert answer.read().startswith(b"AES\n")
