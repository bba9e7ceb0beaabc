"""A Group Policy's object and files, as clients compare them. [MS-GPOL] 2.2.4, 3.3.5."""

from __future__ import annotations

import pytest

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.directory.active_directory import group_policy
from certwright.directory.active_directory.group_policy import EXTENSIONS, RegistryValue, enrollment_settings
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.policy_objects import (
    PolicyObject,
    find_policy,
    plan_policy,
    with_extension,
    with_version,
)
from tests.support.fake_ldap import FakeConnection, FakeTree

REGISTRY = "{35378EAC-683F-11D2-A89A-00C04FBBCFA2}"
ENROLLMENT = "{53D6AB1B-2488-11D1-A28C-00C04FB94F17}"
SECURITY = "[{827D319E-6EAC-11D2-A4EA-00C04F79F83A}{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}]"
FOLDER = "corp.example/Policies/{31B2F340-016D-11D2-945F-00C04FB984F9}"
DN = "CN={31B2F340-016D-11D2-945F-00C04FB984F9},CN=Policies,CN=System,DC=corp,DC=example"


class Files(dict[str, bytes]):
    """SYSVOL as a mapping."""

    def read(self, path: str) -> bytes | None:
        return self.get(path)

    def write(self, path: str, content: bytes) -> None:
        self[path] = content


def policy(version: int = 0, extensions: tuple[str, str] = ("", "")) -> PolicyObject:
    return PolicyObject(DN, "Default Domain Policy", FOLDER, version, extensions)


def test_an_extension_joins_the_others_in_the_order_of_their_guids() -> None:
    """Clients of Windows pass lists over that are in another order."""
    assert with_extension("", EXTENSIONS) == f"[{REGISTRY}{ENROLLMENT}]"
    assert with_extension(SECURITY, EXTENSIONS) == f"[{REGISTRY}{ENROLLMENT}]{SECURITY}"
    other = "{0F6B957E-509E-11D1-A7CC-0000F87571E3}"
    assert with_extension(f"[{REGISTRY}{other}]", EXTENSIONS) == f"[{REGISTRY}{other}{ENROLLMENT}]"
    assert with_extension(f"[{REGISTRY}{ENROLLMENT}]", EXTENSIONS) == f"[{REGISTRY}{ENROLLMENT}]"


def test_a_list_that_is_none_is_not_written_over() -> None:
    with pytest.raises(ConfigurationError, match="cannot be understood"):
        with_extension("[{35378EAC}]", EXTENSIONS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"[General]\r\nVersion=65537\r\n"),
        (b"[General]\r\nVersion=0", b"[General]\r\nVersion=65537"),
        (
            b"[General]\r\nversion = 12\r\ndisplayName=Mine\r\n",
            b"[General]\r\nversion = 65537\r\ndisplayName=Mine\r\n",
        ),
        (b"[General]\r\ndisplayName=Mine\r\n", b"[General]\r\ndisplayName=Mine\r\nVersion=65537\r\n"),
    ],
)
def test_gpt_ini_keeps_its_other_lines(before: bytes | None, after: bytes) -> None:
    assert with_version(before, 65537) == after


@pytest.mark.parametrize(
    ("now", "then"), [(0, 0x1_0001), (0x3_0009, 0x4_000A), (0xFFFF_FFFF, 0x1_0001), (0x7FFF_0001, 0x8000_0002)]
)
def test_both_halves_of_the_version_rise(now: int, then: int) -> None:
    assert policy(now).next_version() == then


def test_a_version_beyond_31_bits_is_a_negative_integer_of_ldap() -> None:
    plan = plan_policy(policy(0x7FFF_0001), Files(), enrollment_settings())
    assert plan.modifications[-1].values == (b"-2147483646",)


def test_what_is_so_already_is_not_written() -> None:
    files, values = Files(), enrollment_settings()
    first = plan_policy(policy(), files, values)
    assert [path for path, _ in first.files] == [
        f"{FOLDER}/Machine/Registry.pol",
        f"{FOLDER}/User/Registry.pol",
        f"{FOLDER}/GPT.INI",
    ]
    for path, content in first.files:
        files.write(path, content)
    names = f"[{REGISTRY}{ENROLLMENT}]"
    again = plan_policy(policy(first.version, (names, names)), files, values)
    assert (again.files, again.modifications, again.sentences()) == ((), (), [])


def test_other_settings_of_the_policy_stay() -> None:
    other = RegistryValue.text(r"Software\Policies\Other", "Kept", "yes")
    files = Files({f"{FOLDER}/Machine/Registry.pol": group_policy.write([other])})
    plan = plan_policy(policy(), files, enrollment_settings())
    assert group_policy.read(dict(plan.files)[f"{FOLDER}/Machine/Registry.pol"])[0] == other


def test_a_file_that_is_none_is_left_as_it_is() -> None:
    files = Files({f"{FOLDER}/Machine/Registry.pol": b"something else"})
    with pytest.raises(ConfigurationError, match="it is left as it is"):
        plan_policy(policy(), files, enrollment_settings())


def test_a_policy_is_found_by_its_name_and_only_in_sysvol() -> None:
    tree = FakeTree()
    attributes = {
        "objectClass": ["top", "groupPolicyContainer"],
        "cn": ["{31B2F340-016D-11D2-945F-00C04FB984F9}"],
        "displayName": ["Default Domain Policy"],
        "versionNumber": ["-2147483646"],
        "gPCFileSysPath": [r"\\corp.example\sysvol\corp.example\Policies\{31B2F340-016D-11D2-945F-00C04FB984F9}"],
    }
    tree.put(DN, attributes)
    connection = FakeConnection(tree, DomainController("dc1.corp.example"))
    found = find_policy(connection, "DC=corp,DC=example", "Default Domain Policy")
    assert (found.folder, found.version) == (FOLDER, 0x8000_0002)
    with pytest.raises(InvalidArgument, match="no Group Policies called 'Other'"):
        find_policy(connection, "DC=corp,DC=example", "Other")
    tree.put(DN, attributes | {"gPCFileSysPath": [r"\\corp.example\other\..\x"]})
    with pytest.raises(ConfigurationError, match="no folder of SYSVOL"):
        find_policy(connection, "DC=corp,DC=example", "Default Domain Policy")
