"""A Group Policy of the domain, found by its name, and what has to be written so that members enroll by themselves.

A policy is an object of the directory and a folder in SYSVOL, which carry the same version: [MS-GPOL] 2.2.4, 2.2.5,
3.3.5. Clients read a half of it again when its version rises, and ask those extensions that the object names. The
settings are values of `group_policy`; what a policy says besides them stays.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.directory.active_directory import group_policy
from certwright.directory.active_directory.group_policy import RegistryValue
from certwright.directory.active_directory.ldap import (
    LdapConnection,
    Modification,
    Operation,
    Scope,
    escape,
)

POLICIES: Final = "CN=Policies,CN=System"
HALVES: Final = ("Machine", "User")
_EXTENSION_NAMES: Final = {"Machine": "gPCMachineExtensionNames", "User": "gPCUserExtensionNames"}
_VERSION: Final = "versionNumber"
_ATTRIBUTES: Final = ("cn", "displayName", _VERSION, "gPCFileSysPath", *_EXTENSION_NAMES.values())
_MAX_HALF: Final = 0xFFFF  # the machine's version is the low word, the user's the high one
_GROUP: Final = re.compile(r"\[((?:\{[0-9A-Fa-f-]{36}\})+)\]")
_GUID: Final = re.compile(r"\{[0-9A-Fa-f-]{36}\}")
_PATH: Final = re.compile(r"\\\\[^\\]+\\sysvol\\([A-Za-z0-9.-]+)\\Policies\\(\{[0-9A-Fa-f-]{36}\})\\?", re.IGNORECASE)
_INI_VERSION: Final = re.compile(rb"^(Version[ \t]*=[ \t]*)(\d{1,10})[ \t]*(\r?)$", re.IGNORECASE | re.MULTILINE)


class PolicyFiles(Protocol):
    """Files of SYSVOL, by paths below it with `/` between the names."""

    def read(self, path: str) -> bytes | None:
        """None where there is no such file.

        Raises:
            AdcsError: it cannot be read.
        """

    def write(self, path: str, content: bytes) -> None:
        """With the folder it lies in.

        Raises:
            AdcsError: it is refused.
        """


@dataclass(frozen=True, slots=True)
class PolicyObject:
    """A groupPolicyContainer."""

    dn: str
    display_name: str
    folder: str  # below SYSVOL: `corp.example/Policies/{GUID}`
    version: int
    extensions: tuple[str, str]  # of the machine, of the user

    def next_version(self) -> int:
        """Both halves raised by one."""
        user, machine = self.version >> 16 & _MAX_HALF, self.version & _MAX_HALF
        return _raised(user) << 16 | _raised(machine)


@dataclass(frozen=True, slots=True)
class PolicyPlan:
    """What writing the settings into a policy comes to; no files when everything is there."""

    policy: PolicyObject
    files: tuple[tuple[str, bytes], ...]  # in the order in which they are written
    changed: tuple[tuple[str, RegistryValue], ...]  # half, value
    version: int
    modifications: tuple[Modification, ...]

    def sentences(self) -> Sequence[str]:
        """The steps as people read them."""
        if not self.files and not self.modifications:
            return []
        lines = [f"{half}: {value}" for half, value in self.changed]
        lines += [f"write sysvol/{path} ({len(content)} octets)" for path, content in self.files]
        for each in self.modifications:
            values = ", ".join(value.decode("utf-8", "replace") for value in each.values)
            lines.append(f"change {self.policy.dn}: {each.attribute} = {values}")
        return lines


def directory_policy_id(connection: LdapConnection) -> str:
    """By what clients know the enrollment policy of a forest's directory. [MS-CAESO] 4.4.5.3.2.4.

    Raises:
        ConfigurationError: the account may not read the forest's root domain.
    """
    root = connection.root_dse().text("rootDomainNamingContext")
    entry = connection.read(root, ["objectGUID"])
    guid = entry.value("objectGUID") if entry is not None else None
    if guid is None or len(guid) != 16:
        raise ConfigurationError(f"{root} has no objectGUID that this account may read")
    return f"{{{str(uuid.UUID(bytes_le=guid)).upper()}}}"


def find_policy(connection: LdapConnection, domain_dn: str, name: str) -> PolicyObject:
    """By its display name or its GUID.

    Raises:
        InvalidArgument: there is none, or there are several of that name.
    """
    wanted = f"(cn={escape(name)})" if _GUID.fullmatch(name) else f"(displayName={escape(name)})"
    condition = f"(&(objectClass=groupPolicyContainer){wanted})"
    found = list(connection.search(f"{POLICIES},{domain_dn}", Scope.ONE_LEVEL, condition, list(_ATTRIBUTES)))
    if len(found) != 1:
        raise InvalidArgument(
            f"The domain has {len(found) or 'no'} Group Policies called {name[:80]!r}. "
            + (
                "Name the one that is meant by its GUID in braces."
                if found
                else "Make it in Group Policy Management (or: samba-tool gpo create), link it where the members are,"
                " and repeat; or name one that is there, such as 'Default Domain Policy'."
            )
        )
    entry = found[0]
    path = _PATH.fullmatch(entry.text("gPCFileSysPath"))
    if path is None:
        raise ConfigurationError(f"{entry.dn}: gPCFileSysPath is no folder of SYSVOL")
    return PolicyObject(
        entry.dn,
        entry.text("displayName"),
        f"{path[1]}/Policies/{path[2]}",
        entry.number(_VERSION, 0) & 0xFFFF_FFFF,
        (entry.text(_EXTENSION_NAMES["Machine"]), entry.text(_EXTENSION_NAMES["User"])),
    )


def plan_policy(policy: PolicyObject, files: PolicyFiles, values: Sequence[RegistryValue]) -> PolicyPlan:
    """What of the settings is not there yet, for computers and for users.

    Raises:
        ConfigurationError: a file of the policy cannot be understood.
        AdcsError: SYSVOL cannot be read.
    """
    written: list[tuple[str, bytes]] = []
    changed: list[tuple[str, RegistryValue]] = []
    for half in HALVES:
        path = f"{policy.folder}/{half}/Registry.pol"
        before = files.read(path) or b""
        try:
            known = {_name_of(each): each for each in group_policy.read(before)} if before else {}
            after = group_policy.merged(before, values)
        except ValueError as error:
            raise ConfigurationError(f"sysvol/{path}: {error}; it is left as it is") from error
        missing = [value for value in values if known.get(_name_of(value)) != value]
        if missing:
            written.append((path, after))
            changed += [(half, value) for value in missing]
    modifications = [
        Modification(Operation.REPLACE, name, (wanted.encode(),))
        for (name, now) in zip(_EXTENSION_NAMES.values(), policy.extensions, strict=True)
        if (wanted := with_extension(now, group_policy.EXTENSIONS)) != now
    ]
    if not written and not modifications:
        return PolicyPlan(policy, (), (), policy.version, ())
    version = policy.next_version()
    ini = f"{policy.folder}/GPT.INI"
    written.append((ini, with_version(files.read(ini), version)))
    signed = version - (1 << 32) if version >= 1 << 31 else version  # an Integer of LDAP's has a sign
    modifications.append(Modification(Operation.REPLACE, _VERSION, (str(signed).encode(),)))
    return PolicyPlan(policy, tuple(written), tuple(changed), version, tuple(modifications))


def with_extension(names: str, more: str) -> str:
    """A list of extensions with one more, in the order that clients want: by GUID, the tools of each too.

    [MS-GPOL] 2.2.4: `[{extension}{tool}...][...]`.

    Raises:
        ConfigurationError: the list is none.
    """
    groups: dict[str, list[str]] = {}
    for text in (names.strip(), more):
        if _GROUP.sub("", text):
            raise ConfigurationError(f"the policy's list of extensions cannot be understood: {text[:200]!r}")
        for group in _GROUP.findall(text):
            extension, *tools = (guid.upper() for guid in _GUID.findall(group))
            groups.setdefault(extension, [])
            groups[extension] += [tool for tool in tools if tool not in groups[extension]]
    return "".join(f"[{extension}{''.join(sorted(tools))}]" for extension, tools in sorted(groups.items()))


def with_version(ini: bytes | None, version: int) -> bytes:
    """GPT.INI with another version; other lines stay. [MS-GPOL] 2.2.4."""
    if not ini:
        return b"[General]\r\nVersion=%d\r\n" % version
    changed, count = _INI_VERSION.subn(rb"\g<1>%d\g<3>" % version, ini, count=1)
    if not count:
        return ini.rstrip() + b"\r\nVersion=%d\r\n" % version
    return changed


def apply_policy(connection: LdapConnection, files: PolicyFiles, plan: PolicyPlan) -> None:
    """Files first: a client that sees the new version of the object finds them.

    Raises:
        LdapError: the controller refuses it.
        AdcsError: SYSVOL cannot be written.
    """
    for path, content in plan.files:
        files.write(path, content)
    if plan.modifications:
        connection.modify(plan.policy.dn, plan.modifications)


def _name_of(value: RegistryValue) -> tuple[str, str]:
    return value.key.casefold(), value.name.casefold()


def _raised(version: int) -> int:
    return version + 1 if version < _MAX_HALF else 1
