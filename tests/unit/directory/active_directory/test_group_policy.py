"""Registry.pol for auto-enrollment. [MS-GPREG] 2.2, [MS-CAESO] 4.4.5."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from certwright.adcs.enrollment_servers import ClientAuthentication
from certwright.directory.active_directory.group_policy import (
    AUTO_ENROLLMENT,
    POLICY_SERVERS,
    RegistryValue,
    enrollment_settings,
    merged,
    read,
    write,
)

POLICY = "{5AD0BE6D-3393-4940-BFC3-6E19555A8919}"
FOREST = "{0E1F5B0A-7C2B-4C52-9A2F-9D4E6C3B1A00}"
CEP = "https://ca.corp.example/ADPolicyProvider_CEP_Kerberos/service.svc/CEP"


def test_members_ask_the_directory_when_no_server_is_named() -> None:
    values = enrollment_settings()
    assert str(values[0]) == f"{AUTO_ENROLLMENT}  AEPolicy = 7  (REG_DWORD)"
    assert not any(value.key.startswith(POLICY_SERVERS) for value in values)


def test_policy_servers_come_before_the_directory() -> None:
    values = enrollment_settings([(CEP, ClientAuthentication.KERBEROS)], policy_id=POLICY, directory_id=FOREST)
    urls = {value.key: value for value in values if value.name == "URL"}
    costs = {value.key: int.from_bytes(value.data, "little") for value in values if value.name == "Cost"}
    (ldap,) = [key for key, value in urls.items() if '"LDAP:"' in str(value)]
    (cep,) = [key for key, value in urls.items() if CEP in str(value)]
    assert ldap.endswith(r"\37c9dc30f207f27f61a2f7c3aed598a6e2920b54")  # the name Windows gives it
    assert costs[cep] < costs[ldap]
    known = {value.key: str(value) for value in values if value.name == "PolicyID"}
    assert POLICY in known[cep]
    assert FOREST in known[ldap]  # by anything else clients pass the directory's policy over


def test_file_survives_and_other_settings_stay() -> None:
    """A value of the same name is replaced, whatever its case."""
    other = RegistryValue.text(r"Software\Policies\Other", "Kept", "yes")
    before = write([other, RegistryValue.number(AUTO_ENROLLMENT.upper(), "aepolicy", 0x8000)])
    after = read(merged(before, enrollment_settings()))
    assert after[0] == other
    policies = [value for value in after if value.name.casefold() == "aepolicy"]
    assert [int.from_bytes(value.data, "little") for value in policies] == [7]
    assert read(write(after)) == after


@pytest.mark.parametrize("data", [b"", b"PReg", b"PReg\x02\0\0\0", write(enrollment_settings())[:-3]])
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(data)


@pytest.mark.peer
def test_samba_reads_the_file(tmp_path: Path) -> None:
    program = "import sys; from samba.dcerpc import preg; from samba.ndr import ndr_unpack\n"
    program += "f = ndr_unpack(preg.file, open(sys.argv[1], 'rb').read())\n"
    program += "print([(e.keyname, e.valuename, e.type, str(e.data)) for e in f.entries][0])"
    if subprocess.run(["/usr/bin/python3", "-c", "import samba"], check=False, capture_output=True).returncode:
        pytest.skip("Samba's Python modules are not installed")
    path = tmp_path / "Registry.pol"
    path.write_bytes(write(enrollment_settings()))
    said = subprocess.run(
        ["/usr/bin/python3", "-c", program, path], check=True, capture_output=True, text=True
    ).stdout
    assert said.strip() == str((AUTO_ENROLLMENT, "AEPolicy", 4, "7"))
