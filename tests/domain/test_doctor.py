"""`doctor domain` names each fault that is seeded into a real domain, with its fix. [MS-KILE], RFC 4120."""

from __future__ import annotations

import shutil
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwright.auth.keytab import RC4, read_keytab
from certwright.directory.active_directory.doctor import Check, Verdict, check_containers
from certwright.directory.active_directory.ldap import Modification, Operation
from certwright.server.domain_doctor import Examination
from tests.support.joined import administrator_of, directory_of, services_dn, settings_of
from tests.support.lab import Lab


def examined(
    lab: Lab, keytab: Path | None = None, hosts: Sequence[str] = (), clock: Any = None, **changes: Any
) -> list[Check]:
    """Everything up to accounts and keys, with settings that differ from the right ones."""
    examination = Examination(
        settings_of(lab, **{"netbios_name": lab.netbios, **changes}),
        hosts or [lab.ca_host],
        keytab or lab.keytab("http"),
        clock=clock or (lambda: datetime.now(UTC)),
    )
    examination.connections()
    return examination.checks


def wrong(checks: Sequence[Check], name: str) -> Check:
    """The one finding of that name; nothing else is wrong."""
    found = [check for check in checks if check.verdict is Verdict.WRONG]
    assert {check.name for check in found} == {name}, found
    return found[0]


def samba_tool(lab: Lab, *arguments: str) -> None:
    lab.on_controller("samba-tool", *arguments, f"--configfile={lab.folder}/samba/etc/smb.conf")


@pytest.fixture(scope="module")
def service(ad: Lab) -> Iterator[Path]:
    """The keytab of an account that holds HTTP/web, and no other name."""
    name = f"HTTP/web.{ad.dns_domain}"
    keytab = ad.folder / "web.keytab"
    samba_tool(ad, "user", "create", "svc-web", "Sup3r-secret")
    ad.ldapmodify(
        f"dn: CN=svc-web,CN=Users,{ad.base_dn}\nchangetype: modify\n"
        "replace: msDS-SupportedEncryptionTypes\nmsDS-SupportedEncryptionTypes: 28\n"
    )
    samba_tool(ad, "spn", "add", name, "svc-web")
    samba_tool(ad, "domain", "exportkeytab", str(keytab), f"--principal={name}")
    yield keytab
    samba_tool(ad, "user", "delete", "svc-web")
    keytab.unlink()


def names_of(lab: Lab) -> list[str]:
    return [f"web.{lab.dns_domain}"]


@contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> Iterator[None]:
    """This machine's resolver knows web too: the lab's DNS is not this host's."""
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        return real(lab.host_address if host == f"web.{lab.dns_domain}" else host, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", look_up)
        yield


def test_nothing_is_wrong_with_the_lab(ad: Lab) -> None:
    checks = examined(ad, hosts=[ad.ca_host, f"pki.{ad.dns_domain}"])
    assert [check for check in checks if check.verdict is not Verdict.GOOD] == []
    assert {check.name for check in checks} >= {"dns", "tcp", "tls", "bind", "clock", "key version"}


def test_controllers_are_found_by_dns_or_it_says_so(ad: Lab) -> None:
    checks = examined(ad, controllers=(), name_servers=(ad.controller_address,))
    assert [check for check in checks if check.verdict is Verdict.WRONG] == []
    found = wrong(examined(ad, controllers=(), name_servers=("127.0.0.254",), timeout=0.5), "dns")
    assert "name-servers" in found.fix


def test_clock_skew(ad: Lab) -> None:
    """Five minutes, as Kerberos allows. RFC 4120 1.6."""
    found = wrong(examined(ad, clock=lambda: datetime.now(UTC) + timedelta(minutes=10)), "clock")
    assert "synchronise this host's clock" in found.fix


def test_untrusted_certificate_of_the_controller(ad: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    shutil.copy(ad.folder / "tls/ca.pem", other)  # a certificate, and not the one that issued the controller's
    found = wrong(examined(ad, ca_file=other), "tls")
    assert str(other) in found.fix


def test_controller_that_accepts_and_says_nothing(ad: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        checks = examined(ad, controllers=(f"localhost:{port}",), timeout=1.0)
    found = [check for check in checks if check.name == "bind"]
    assert found[0].verdict is Verdict.WRONG


def test_port_that_nobody_listens_on(ad: Lab) -> None:
    checks = examined(ad, controllers=("127.0.0.1:9",), timeout=1.0)
    assert [check.verdict for check in checks if check.name == "tcp"] == [Verdict.WRONG]


def test_account_that_is_not_there(ad: Lab) -> None:
    checks = examined(ad, account="svc-nobody", keytab=ad.keytab("http"))
    assert any(check.name == "bind" and check.verdict is Verdict.WRONG for check in checks)


def test_name_that_no_account_holds(ad: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with resolving(monkeypatch, ad):
        found = wrong(examined(ad, hosts=names_of(ad)), "spn")
    assert found.fix == f"setspn -S HTTP/web.{ad.dns_domain} {ad.netbios}\\svc-enroll"


def test_keytab_of_other_names(ad: Lab, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with resolving(monkeypatch, ad):
        assert wrong(examined(ad, hosts=names_of(ad)), "keytab").subject == f"HTTP/web.{ad.dns_domain}"
        assert all(check.verdict is Verdict.GOOD for check in examined(ad, service, names_of(ad)))


def test_name_that_two_accounts_hold(ad: Lab, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controllers refuse it today; older ones, and two of them at once, did not. Written past their check."""
    database = f"{ad.folder}/samba/private/sam.ldb.d/{ad.base_dn.upper()}.ldb"
    ldif = ad.folder / "spn.ldif"
    change = (
        f"dn: CN=bob,CN=Users,{ad.base_dn}\nchangetype: modify\n{{}}: servicePrincipalName\n"
        f"servicePrincipalName: HTTP/web.{ad.dns_domain}\n"
    )
    ldif.write_text(change.format("add"))
    ad.on_controller("ldbmodify", "-H", database, str(ldif))
    try:
        with resolving(monkeypatch, ad):
            found = wrong(examined(ad, service, names_of(ad)), "spn")
    finally:
        ldif.write_text(change.format("delete"))
        ad.on_controller("ldbmodify", "-H", database, str(ldif))
    assert "bob, svc-web" in found.sentence
    assert f"setspn -D HTTP/web.{ad.dns_domain} bob" in found.fix


def test_keys_that_are_rc4_only(ad: Lab, service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "rc4.keytab"
    old.write_bytes(only(service.read_bytes(), RC4))
    assert [entry.encryption for entry in read_keytab(old)] == [RC4]
    with resolving(monkeypatch, ad):
        found = wrong(examined(ad, old, names_of(ad)), "encryption")
    assert "KerberosEncryptionType AES128,AES256" in found.fix


@pytest.mark.parametrize(("types", "said"), [("4", "allows RC4 only"), ("0", "does not say that it takes AES")])
def test_account_without_aes(ad: Lab, service: Path, monkeypatch: pytest.MonkeyPatch, types: str, said: str) -> None:
    """msDS-SupportedEncryptionTypes. [MS-KILE] 2.2.7, 3.3.5.4."""
    dn = f"CN=svc-web,CN=Users,{ad.base_dn}"
    with administrator_of(ad) as administrator:
        change = Modification(Operation.REPLACE, "msDS-SupportedEncryptionTypes", (types.encode(),))
        administrator.modify(dn, [change])
        try:
            with resolving(monkeypatch, ad):
                found = wrong(examined(ad, service, names_of(ad)), "encryption")
        finally:
            administrator.modify(dn, [change._replace(values=(b"28",))])
    assert said in found.sentence


def only(keytab: bytes, encryption: int) -> bytes:
    """The entries of one encryption type. MIT's format, version 2."""
    kept, at = keytab[:2], 2
    while at < len(keytab):
        length = struct.unpack_from(">i", keytab, at)[0]
        entry = keytab[at : at + 4 + abs(length)]
        if length > 0:
            count = struct.unpack_from(">H", entry, 4)[0]
            inside = 6
            for _ in range(count + 1):
                inside += 2 + struct.unpack_from(">H", entry, inside)[0]
            if struct.unpack_from(">H", entry, inside + 9)[0] == encryption:
                kept += entry
        at += 4 + abs(length)
    return kept


def test_key_of_an_older_password(ad: Lab, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kvno in the keytab against msDS-KeyVersionNumber. Last of those with this account: its keys change."""
    samba_tool(ad, "user", "setpassword", "svc-web", "--newpassword=An0ther-secret")
    with resolving(monkeypatch, ad):
        found = wrong(examined(ad, service, names_of(ad)), "key version")
    assert "its password was changed after the keytab was made" in found.sentence
    assert "ktpass" in found.fix


def test_container_that_is_missing(ad: Lab) -> None:
    dn = f"CN=KRA,{services_dn(ad)}"
    with administrator_of(ad) as administrator, directory_of(ad) as directory:
        names = directory.names
        assert all(
            check.verdict is Verdict.GOOD for check in directory.pool.run(lambda it: check_containers(it, names))
        )
        administrator.delete(dn)
        try:
            found = wrong(directory.pool.run(lambda it: check_containers(it, names)), "container")
        finally:
            administrator.add(dn, {"objectClass": (b"top", b"container")})
    assert found.subject == dn
    assert 'New-ADObject -Type container -Name "KRA"' in found.fix


def test_ntlm_without_winbind_is_said(ad: Lab) -> None:
    examination = Examination(settings_of(ad), [ad.ca_host], None)
    examination.winbind("/nowhere/ntlm_auth")
    (note,) = examination.checks
    assert note.verdict is Verdict.NOTE
    assert "NTLM is not offered" in note.sentence
