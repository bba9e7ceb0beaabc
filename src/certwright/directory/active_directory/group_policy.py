"""What a Group Policy has to say so that members of a domain enroll by themselves, and the file that says it.

[MS-CAESO] 4.4.5 (auto-enrollment), [MS-GPREG] 2.2 (Registry.pol), 3.1 (where it lies). The file goes into the
`Machine` and `User` folders of a policy in SYSVOL; settings that are there already and are others stay.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from certwright.adcs.enrollment_servers import ClientAuthentication

MAX_FILE: Final = 4 << 20
EXTENSIONS: Final = "[{35378EAC-683F-11D2-A89A-00C04FBBCFA2}{53D6AB1B-2488-11D1-A28C-00C04FB94F17}]"
"""For gPCMachineExtensionNames and gPCUserExtensionNames: the registry's extension with auto-enrollment's snap-in."""

_CRYPTOGRAPHY: Final = r"Software\Policies\Microsoft\Cryptography"
AUTO_ENROLLMENT: Final = rf"{_CRYPTOGRAPHY}\AutoEnrollment"
POLICY_SERVERS: Final = rf"{_CRYPTOGRAPHY}\PolicyServers"
_EVERYTHING: Final = 7  # enroll, renew, update certificates that use templates
_AUTOENROLLED: Final = 0x10
_LDAP: Final = "LDAP:"
_LAST: Final = 0x7FFF_FFFD  # the cost of what is asked when nothing else is
_SIGNATURE: Final = b"PReg" + struct.pack("<I", 1)


class ValueType(IntEnum):
    """[MS-GPREG] 2.2.1."""

    TEXT = 1
    BINARY = 3
    NUMBER = 4


class RegistryValue(NamedTuple):
    """One value; `data` is as the file holds it."""

    key: str
    name: str
    type: int
    data: bytes

    @classmethod
    def text(cls, key: str, name: str, value: str) -> RegistryValue:
        return cls(key, name, ValueType.TEXT, f"{value}\0".encode("utf-16-le"))

    @classmethod
    def number(cls, key: str, name: str, value: int) -> RegistryValue:
        return cls(key, name, ValueType.NUMBER, struct.pack("<I", value))

    def __str__(self) -> str:
        name = self.name or "(default)"
        if self.type == ValueType.NUMBER and len(self.data) == 4:
            return f"{self.key}  {name} = {int.from_bytes(self.data, 'little')}  (REG_DWORD)"
        if self.type == ValueType.TEXT:
            return f'{self.key}  {name} = "{self.data.decode("utf-16-le", "replace").rstrip(chr(0))}"  (REG_SZ)'
        return f"{self.key}  {name} = {self.data.hex()}  (type {self.type})"


def enrollment_settings(
    servers: Sequence[tuple[str, ClientAuthentication]] = (),
    *,
    policy_id: str = "",
    directory_id: str = "",
    friendly_name: str = "",
) -> Sequence[RegistryValue]:
    """Auto-enrollment on, with the policy of the directory and, before it, policy servers (CEP) by their URLs.

    Args:
        policy_id: what the policy servers call their policy, a GUID in braces; clients group servers by it.
        directory_id: the objectGUID of the forest's root domain in braces, by which clients know the directory's
            policy. [MS-CAESO] 4.4.5.3.2.4. Empty: members do not ask a directory besides the servers.
    """
    values = [
        RegistryValue.number(AUTO_ENROLLMENT, "AEPolicy", _EVERYTHING),
        RegistryValue.number(AUTO_ENROLLMENT, "OfflineExpirationPercent", 10),
        RegistryValue.text(AUTO_ENROLLMENT, "OfflineExpirationStoreNames", "MY"),
    ]
    if not servers:
        return values  # without policy servers members ask the directory
    values.append(RegistryValue.text(POLICY_SERVERS, "", policy_id))
    values.append(RegistryValue.number(POLICY_SERVERS, "Flags", 0))
    known = [(url, kind, 10 + at, policy_id) for at, (url, kind) in enumerate(servers)]
    if directory_id:
        known.append((_LDAP, ClientAuthentication.KERBEROS, _LAST, directory_id))
    for url, kind, cost, identifier in known:
        key = rf"{POLICY_SERVERS}\{_key_of(url)}"
        values += [
            RegistryValue.text(key, "URL", url),
            RegistryValue.text(key, "PolicyID", identifier),
            RegistryValue.text(key, "FriendlyName", friendly_name or "Active Directory Enrollment Policy"),
            RegistryValue.number(key, "Flags", _AUTOENROLLED),
            RegistryValue.number(key, "AuthFlags", int(kind)),
            RegistryValue.number(key, "Cost", cost),
        ]
    return values


def _key_of(url: str) -> str:
    """A name that is the same for the same URL; for `LDAP:` it is the one that Windows gives."""
    return hashlib.sha1(url.lower().encode("utf-16-le"), usedforsecurity=False).hexdigest()


# -- the file --------------------------------------------------------------------------------------------------------


def merged(before: bytes, values: Iterable[RegistryValue]) -> bytes:
    """A Registry.pol with these values, in place of those of the same names; what else it says stays.

    Raises:
        ValueError: `before` is neither empty nor such a file.
    """
    known = {(each.key.casefold(), each.name.casefold()): each for each in read(before)} if before else {}
    for value in values:
        known[value.key.casefold(), value.name.casefold()] = value
    return write(known.values())


def write(values: Iterable[RegistryValue]) -> bytes:
    return _SIGNATURE + b"".join(map(_encoded, values))


def read(data: bytes) -> Sequence[RegistryValue]:
    """Raises:
    ValueError: it is no Registry.pol, or cut off.
    """
    if not data.startswith(_SIGNATURE) or len(data) > MAX_FILE:
        raise ValueError("it is no Registry.pol of version 1")
    values, at = [], len(_SIGNATURE)
    while at < len(data):
        at = _expect(data, at, "[")
        key, at = _name(data, at)
        at = _expect(data, at, ";")
        name, at = _name(data, at)
        at = _expect(data, at, ";")
        kind, at = _number(data, at)
        at = _expect(data, at, ";")
        size, at = _number(data, at)
        at = _expect(data, at, ";")
        if at + size > len(data):
            raise ValueError("a value is cut off")
        values.append(RegistryValue(key, name, kind, data[at : at + size]))
        at = _expect(data, at + size, "]")
    return values


def _encoded(value: RegistryValue) -> bytes:
    def text(characters: str) -> bytes:
        return characters.encode("utf-16-le")

    head = text(f"[{value.key}\0;{value.name}\0;")
    numbers = struct.pack("<I", value.type) + text(";") + struct.pack("<I", len(value.data)) + text(";")
    return head + numbers + value.data + text("]")


def _expect(data: bytes, at: int, character: str) -> int:
    if data[at : at + 2] != character.encode("utf-16-le"):
        raise ValueError(f"there is no {character!r} where one belongs")
    return at + 2


def _name(data: bytes, at: int) -> tuple[str, int]:
    end = at
    while data[end : end + 2] != b"\0\0":
        if end + 2 > len(data):
            raise ValueError("a name is cut off")
        end += 2
    return data[at:end].decode("utf-16-le"), end + 2


def _number(data: bytes, at: int) -> tuple[int, int]:
    if at + 4 > len(data):
        raise ValueError("a number is cut off")
    return int.from_bytes(data[at : at + 4], "little"), at + 4
