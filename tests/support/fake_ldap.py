"""A directory tree in memory behind `LdapConnection`, for unit tests. The lab's tests use a real one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from certwright.directory.active_directory.ldap import (
    Attributes,
    Entry,
    LdapError,
    LdapUnavailable,
    Modification,
    Operation,
    ResultCode,
    Scope,
)
from certwright.directory.active_directory.locating import DomainController

Matcher = Callable[[Entry], bool]


@dataclass
class FakeTree:
    """What several fake controllers share. `usn` counts changes; `down` are hosts that do not answer."""

    entries: dict[str, Entry] = field(default_factory=dict)
    usn: int = 100
    down: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)  # host, filter or name
    _guids: Iterator[int] = field(default_factory=lambda: count(1))

    def put(self, dn: str, attributes: Mapping[str, Sequence[bytes | str]]) -> None:
        """Add or replace an object, as another tool would."""
        self.usn += 1
        known = self.entries.get(dn)
        guid = known.values("objectGUID") if known else (next(self._guids).to_bytes(16, "big"),)
        self.entries[dn] = Entry.of(dn, {"objectGUID": guid, **attributes, "uSNChanged": (str(self.usn),)})

    def remove(self, dn: str) -> None:
        self.usn += 1
        del self.entries[dn]


class FakeConnection:
    """Implements `LdapConnection` over a tree."""

    def __init__(self, tree: FakeTree, controller: DomainController, first_usn: int = 0) -> None:
        self.tree = tree
        self.controller = controller
        self.closed = False
        self._first_usn = first_usn

    def search(
        self,
        base: str,
        scope: Scope,
        filter: str,
        attributes: Sequence[str],
        *,
        sd_flags: int | None = None,
        size_limit: int = 0,
    ) -> Iterator[Entry]:
        self._answer(filter)
        matches = _parsed(filter)
        found = 0
        for dn, entry in list(self.tree.entries.items()):
            if _is_below(dn, base, scope) and matches(entry):
                yield entry
                found += 1
                if found == size_limit:
                    return

    def read(self, dn: str, attributes: Sequence[str], *, sd_flags: int | None = None) -> Entry | None:
        self._answer(dn)
        return self.tree.entries.get(dn)

    def add(self, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> None:
        self._answer(dn)
        if dn in self.tree.entries:
            raise LdapError(f"Adding {dn} failed", ResultCode.ENTRY_ALREADY_EXISTS)
        self.tree.put(dn, attributes)

    def modify(self, dn: str, changes: Sequence[Modification], *, sd_flags: int | None = None) -> None:
        self._answer(dn)
        values: dict[str, Sequence[bytes]] = dict(self.tree.entries[dn].attributes)
        for change in changes:
            before = tuple(values.get(change.attribute, ()))
            if change.operation is Operation.ADD:
                values[change.attribute] = (*before, *change.values)
            elif change.operation is Operation.DELETE:
                gone = change.values or before
                values[change.attribute] = tuple(value for value in before if value not in gone)
            else:
                values[change.attribute] = change.values
        self.tree.put(dn, {name: kept for name, kept in values.items() if kept})

    def delete(self, dn: str) -> None:
        self._answer(dn)
        if dn not in self.tree.entries:
            raise LdapError(f"Deleting {dn} failed", ResultCode.NO_SUCH_OBJECT)
        self.tree.remove(dn)

    def root_dse(self) -> Entry:
        self._answer("")
        return Entry.of(
            "",
            {
                "defaultNamingContext": ("DC=corp,DC=example",),
                "configurationNamingContext": ("CN=Configuration,DC=corp,DC=example",),
                "dsServiceName": (f"CN=NTDS Settings,CN={self.controller.host}",),
                "highestCommittedUSN": (str(self.tree.usn + self._first_usn),),
            },
        )

    def close(self) -> None:
        self.closed = True

    def _answer(self, question: str) -> None:
        self.tree.asked.append((self.controller.host, question))
        if self.controller.host in self.tree.down:
            raise LdapUnavailable(f"{self.controller.host} is down")


def _is_below(dn: str, base: str, scope: Scope) -> bool:
    if scope is Scope.BASE:
        return dn == base
    if scope is Scope.ONE_LEVEL:
        return dn.partition(",")[2] == base
    return dn == base or dn.endswith("," + base)


_ITEM = re.compile(r"([A-Za-z0-9-]+)(>=|=)([^()]*)\)")


def _parsed(text: str) -> Matcher:
    matcher, end = _filter(text, 0)
    assert end == len(text), text
    return matcher


def _filter(text: str, at: int) -> tuple[Matcher, int]:
    """The filters that the product uses: and, or, equality, presence, greater or equal. RFC 4515."""
    assert text[at] == "(", text
    if text[at + 1] in "&|":
        together = all if text[at + 1] == "&" else any
        parts: list[Matcher] = []
        at += 2
        while text[at] == "(":
            part, at = _filter(text, at)
            parts.append(part)
        return lambda entry: together(part(entry) for part in parts), at + 1
    item = _ITEM.match(text, at + 1)
    assert item is not None, text[at:]
    name, operator, value = item.groups()
    wanted = _unescaped(value)

    def matches(entry: Entry) -> bool:
        values = Attributes(entry.attributes).get(name, ())
        if operator == ">=":
            return any(int(each) >= int(wanted) for each in values)
        return bool(values) if value == "*" else any(each.lower() == wanted.lower() for each in values)

    return matches, item.end()


def _unescaped(text: str) -> bytes:
    return re.sub(rb"\\([0-9a-fA-F]{2})", lambda found: bytes([int(found.group(1), 16)]), text.encode())
