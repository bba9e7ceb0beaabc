"""The enrollment settings in a Group Policy of the domain: written over SMB, read by Samba's own client on a member.

[MS-GPOL] 2.2.4, [MS-GPREG] 2.2, [MS-CAESO] 4.4.5.3.2.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from certwright.adcs.events import AuditEvent
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.domain.test_publication import as_administrator, ldapsearch
from tests.support.joined import JoinedServer
from tests.support.lab import Lab

POLICY = "Enrollment of members"
MEMBER = "ws2"
CEP = "https://ca.corp.example/ADPolicyProvider_CEP_Kerberos/service.svc/CEP"

pytestmark = pytest.mark.skipif(shutil.which("smbclient") is None, reason="smbclient is not installed")

READ = """
import glob, json, sys
from samba.dcerpc import preg
from samba.ndr import ndr_unpack
from samba.gp.gp_cert_auto_enroll_ext import obtain_end_point_information
(path,) = glob.glob("/var/cache/samba/gpo_cache/*/POLICIES/" + sys.argv[1].upper() + "/MACHINE/REGISTRY.POL")
file = ndr_unpack(preg.file, open(path, "rb").read())  # it holds the memory of its entries
policy = [e.data for e in file.entries if e.valuename == "AEPolicy"]
print(json.dumps([policy, obtain_end_point_information(file.entries)]))
"""
"""What the member's own client makes of the file that it downloaded."""


@pytest.fixture(scope="module")
def home(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> JoinedServer:
    return JoinedServer.prepare(tmp_path_factory.mktemp("policy"), ad, "GPO")


@pytest.fixture(scope="module")
def writer(ad: Lab, home: JoinedServer) -> list[str]:
    return as_administrator(ad, home.home.parent)


@pytest.fixture(scope="module")
def policy(ad: Lab) -> Iterator[str]:
    """A new Group Policy linked to the domain, as an administrator makes one; its GUID. Gone with the module."""
    as_user = ["-H", f"ldap://{ad.controller}", "-U", f"Administrator%{ad.administrator_password}"]
    made = ad.on_controller("samba-tool", "gpo", "create", POLICY, *as_user)
    found = re.search(r"\{[0-9A-F-]{36}\}", made)
    assert found is not None, made
    ad.on_controller("samba-tool", "gpo", "setlink", ad.base_dn, found[0], *as_user)
    yield found[0]
    ad.on_controller("samba-tool", "gpo", "dellink", ad.base_dn, found[0], *as_user)
    ad.on_controller("samba-tool", "gpo", "del", found[0], *as_user)


@pytest.fixture(scope="module")
def member(ad: Lab) -> str:
    ad.member(MEMBER)
    return MEMBER


def entry_of(ad: Lab, guid: str) -> dict[str, list[str]]:
    (entry,) = ldapsearch(
        ad, f"CN={guid},CN=Policies,CN=System,{ad.base_dn}", "(objectClass=groupPolicyContainer)", "*"
    )
    return entry


def test_a_dry_run_tells_everything_and_writes_nothing(
    ad: Lab, home: JoinedServer, writer: list[str], policy: str
) -> None:
    told = home.cli("domain", "policy", "--write", POLICY, "--dry-run", *writer)
    assert r"Machine: Software\Policies\Microsoft\Cryptography\AutoEnrollment  AEPolicy = 7  (REG_DWORD)" in told
    assert f"write sysvol/{ad.dns_domain}/Policies/{policy}/User/Registry.pol" in told
    assert "versionNumber = 65537" in told
    assert entry_of(ad, policy)["versionNumber"] == ["0"]


def test_a_member_applies_what_was_written(
    ad: Lab, home: JoinedServer, writer: list[str], policy: str, member: str
) -> None:
    """Auto-enrollment on, our address first, and the directory's own policy under the ID that clients demand."""
    home.cli("domain", "policy", "--write", POLICY, "--server", CEP, *writer)
    entry = entry_of(ad, policy)
    assert entry["versionNumber"] == ["65537"]  # both halves: clients read them again
    for extensions in (entry["gPCMachineExtensionNames"][0], entry["gPCUserExtensionNames"][0]):
        assert "{35378EAC-683F-11D2-A89A-00C04FBBCFA2}" in extensions
    ini = ad.on_controller("cat", _sysvol(ad, policy, "GPT.INI"))
    assert "Version=65537" in ini

    applied = ad.on_member(
        member, "sh", "-c", f"{_HELPER} PATH=$PWD:$PATH samba-gpupdate --rsop --target=Computer -P"
    )
    part = applied.partition(f"GPO: {POLICY}")[2]
    assert "Auto Enrollment Policy" in part.partition("\nGPO: ")[0]
    on, groups = json.loads(ad.on_member(member, "/usr/bin/python3", "-c", READ, policy))
    assert on == [7]
    by_url = {each["URL"]: each for group in groups for each in group}
    assert by_url.keys() == {CEP, "LDAP:"}
    (root,) = ldapsearch(ad, ad.base_dn, f"(distinguishedName={ad.base_dn})", "objectGUID")
    forest = uuid.UUID(bytes_le=_octets(root["objectGUID"][0]))
    assert by_url["LDAP:"]["PolicyID"] == f"{{{str(forest).upper()}}}"
    assert by_url[CEP]["Cost"] < by_url["LDAP:"]["Cost"]
    assert by_url[CEP]["AuthFlags"] == 2


_HELPER = r"cd $(mktemp -d) && printf '#!/bin/sh\necho User\n' >cepces-submit && chmod +x cepces-submit &&"
"""Without a helper of certmonger's of this name, Samba's client does not even look."""


def _octets(base64_text: str) -> bytes:
    import base64

    return base64.b64decode(base64_text.removeprefix(" "))


def _sysvol(ad: Lab, policy: str, name: str) -> str:
    return str(Path(ad.folder, "samba/state/sysvol", ad.dns_domain, "Policies", policy, name))


def test_writing_again_changes_nothing(ad: Lab, home: JoinedServer, writer: list[str], policy: str) -> None:
    done = home.run("domain", "policy", "--write", policy, "--server", CEP, *writer)
    assert "says it all already" in done.stderr
    assert entry_of(ad, policy)["versionNumber"] == ["65537"]


def test_other_settings_stay(ad: Lab, home: JoinedServer, writer: list[str], policy: str) -> None:
    """A second address joins the first; the policy's version rises by one in both halves."""
    other = CEP.replace("ca.corp", "ca2.corp")
    told = home.cli("domain", "policy", "--write", POLICY, "--server", CEP, "--server", other, *writer)
    assert "AEPolicy" not in told  # it is so already
    assert entry_of(ad, policy)["versionNumber"] == ["131074"]


def test_an_account_without_the_right_is_refused_and_the_trail_says_so(
    ad: Lab, home: JoinedServer, policy: str
) -> None:
    """The service account, by a ticket of its keytab: it may read SYSVOL, as every account, and write nothing."""
    third = CEP.replace("ca.corp", "ca3.corp")
    done = home.run("domain", "policy", "--write", POLICY, "--server", third)
    assert done.returncode == 1
    assert f"{ad.netbios}\\svc-enroll may not write sysvol/" in done.stderr
    assert entry_of(ad, policy)["versionNumber"] == ["131074"]
    with Installation.open(Home.open(home.home)) as installation:
        refused, begun, *_ = installation.audit.events(limit=2)
    assert [begun.event, refused.event] == [AuditEvent.DOMAIN_WRITE_BEGUN, AuditEvent.DOMAIN_WRITE_REFUSED]


def test_a_policy_that_is_not_there_is_named_with_what_to_do(home: JoinedServer, writer: list[str]) -> None:
    done = home.run("domain", "policy", "--write", "Nothing", *writer)
    assert done.returncode == 1
    assert "The domain has no Group Policies called 'Nothing'" in done.stderr
    assert "samba-tool gpo create" in done.stderr


def test_without_smbclient_the_steps_are_told(
    ad: Lab, home: JoinedServer, writer: list[str], policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = home.run("domain", "policy", "--write", POLICY, *writer)
    assert done.returncode == 1
    assert f"write sysvol/{ad.dns_domain}/Policies/{policy}/Machine/Registry.pol" in done.stdout
    assert "install the package smbclient" in done.stderr
