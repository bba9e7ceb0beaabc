"""`LdapConnection` by bonsai: over libldap, bound with Kerberos and sealed, or with a password over TLS.

What of bonsai would surprise is dealt with here. It turns values into numbers and booleans unless an attribute was
named as raw before, so what `*` will bring is asked for first. It compares values as C strings, so several values of
one attribute go past its list. It connects without letting other threads run, so whether the controller listens is
found out before. libldap is told by its environment not to take the server's name from a reverse look-up.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from certwright.adcs.errors import ConfigurationError
from certwright.directory.active_directory import descriptor_writing
from certwright.directory.active_directory.ldap import (
    EVERYTHING,
    Attributes,
    Entry,
    LdapError,
    LdapUnavailable,
    Modification,
    Operation,
    ResultCode,
    Scope,
)
from certwright.directory.active_directory.locating import LDAP_PORT, LDAPS_PORT, DomainController
from certwright.directory.active_directory.settings import DomainSettings

os.environ.setdefault("LDAPSASL_NOCANON", "on")
os.environ.setdefault("LDAPNETWORK_TIMEOUT", "10")

try:
    import bonsai
    from bonsai import errors as bonsai_errors
except ImportError as error:
    raise ConfigurationError(
        "Active Directory needs the packages of the extra active-directory, which are built on this machine:"
        " install gcc, python3-dev, libkrb5-dev, libldap2-dev and libsasl2-dev, then: pip install"
        f" 'certwright[active-directory]' ({error})"
    ) from error

PAGE: Final = 1000  # entries; what controllers give at most. [MS-ADTS] 3.1.1.3.4.6, MaxPageSize
SEALED: Final = 56  # the least "security strength factor" that encrypts
ROOT_DSE: Final = (
    *("defaultNamingContext", "configurationNamingContext", "schemaNamingContext", "rootDomainNamingContext"),
    *("dnsHostName", "dsServiceName", "serverName", "highestCommittedUSN", "currentTime"),
    *("supportedControl", "supportedCapabilities", "supportedSASLMechanisms", "domainFunctionality"),
)
_SCOPES: Final = {Scope.BASE: 0, Scope.ONE_LEVEL: 1, Scope.SUBTREE: 2}
_OPERATIONS: Final = {Operation.ADD: 0, Operation.DELETE: 1, Operation.REPLACE: 2}
_ADDED: Final = 1  # states of a list of values in an entry that is sent
_REPLACED: Final = 2
_CODE: Final = re.compile(r"\s*\(0x[0-9A-Fa-f]{4} \[-?\d+\]\)$")


def connect(controller: DomainController, settings: DomainSettings) -> BonsaiConnection:
    """As the service account: with its keytab or, where only a password is there, over TLS or with Kerberos.

    Raises:
        LdapUnavailable: the controller does not answer, or does not accept us.
    """
    try:
        if settings.keytab is None and settings.ca_file is not None:
            return bind(controller, settings, f"{settings.account}@{settings.dns_domain}", settings.password)
        client = _client("ldap", controller.host, controller.port, settings)
        client.set_credentials(
            "GSSAPI",
            user=settings.account,
            realm=settings.realm,
            password=settings.password if settings.keytab is None else None,
            keytab=str(settings.keytab) if settings.keytab is not None else None,
        )
        client.set_sasl_security_properties(min_ssf=SEALED)
        return BonsaiConnection(client, controller, settings)
    except LdapError as error:
        raise LdapUnavailable(f"it does not accept the account {settings.account}: {error.words}") from error


def bind(controller: DomainController, settings: DomainSettings, name: str, password: str) -> BonsaiConnection:
    """Simple bind over TLS.

    Raises:
        LdapError: `INVALID_CREDENTIALS` with Windows' reason in its words.
        LdapUnavailable: the controller does not answer, or its certificate is not trusted.
    """
    port = LDAPS_PORT if controller.port == LDAP_PORT else controller.port
    client = _client("ldaps", controller.host, port, settings)
    client.set_cert_policy("demand")
    if settings.ca_file is not None:
        client.set_ca_cert(str(settings.ca_file))
    client.set_credentials("SIMPLE", user=name, password=password)
    return BonsaiConnection(client, controller, replace(settings, keytab=None, password=password), name)


def _client(scheme: str, host: str, port: int, settings: DomainSettings) -> Any:
    _require_listening(host, port, settings.timeout)
    client = bonsai.LDAPClient(f"{scheme}://{host}:{port}")
    client.set_ignore_referrals(True)
    client.set_server_chase_referrals(False)
    client.set_auto_page_acquire(False)
    return client


def _require_listening(host: str, port: int, timeout: float) -> None:
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        raise LdapUnavailable(f"port {port} does not answer ({error.strerror or error})") from error


class BonsaiConnection:
    """Implements `LdapConnection`."""

    def __init__(
        self, client: Any, controller: DomainController, settings: DomainSettings, simple_name: str = ""
    ) -> None:
        self.controller = controller
        self._client = client
        self._settings = settings
        self._simple_name = simple_name  # whom the settings' password was given for, where Kerberos was not used
        self._timeout = settings.timeout
        self._raw: set[str] = set()
        with _translated("The connection was refused"):
            self._connection = client.connect(timeout=settings.timeout)

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
        if "*" in attributes:
            self._learn(base, scope, filter)
        self._keep_raw(attributes)
        found = 0
        with _translated(f"Searching {base or 'the root'} failed"):
            self._client.set_sd_flags(sd_flags)
            page = self._connection.paged_search(
                base, _SCOPES[scope], filter, list(attributes), timeout=self._timeout, page_size=PAGE
            )
            while True:
                for each in page:
                    yield _entry(each)
                    found += 1
                    if found == size_limit:
                        return
                following = page.acquire_next_page()
                if following is None:
                    return
                page = self._connection.get_result(following, self._timeout)

    def read(self, dn: str, attributes: Sequence[str], *, sd_flags: int | None = None) -> Entry | None:
        if "*" in attributes:
            self._learn(dn, Scope.BASE, EVERYTHING)
        self._keep_raw(attributes)
        try:
            with _translated(f"Reading {dn or 'the root'} failed"):
                self._client.set_sd_flags(sd_flags)
                found = self._connection.search(dn, 0, EVERYTHING, list(attributes), timeout=self._timeout)
        except LdapError as error:
            if error.code == ResultCode.NO_SUCH_OBJECT:
                return None
            raise
        return _entry(found[0]) if found else None

    def add(self, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> None:
        with _translated(f"Adding {dn} failed"):
            entry = bonsai.LDAPEntry(dn)
            for name, values in attributes.items():
                entry[name] = _listed(values)
                entry[name].status = _ADDED
            self._connection.add(entry, self._timeout)

    def modify(self, dn: str, changes: Sequence[Modification], *, sd_flags: int | None = None) -> None:
        if sd_flags is not None:
            descriptor_writing.modify(
                self.controller, self._settings, dn, changes, sd_flags, simple_name=self._simple_name
            )
            return
        with _translated(f"Changing {dn} failed"):
            entry: Any = bonsai.LDAPEntry(dn, self._connection)
            for change in changes:
                if change.operation is not Operation.REPLACE:
                    entry.change_attribute(change.attribute, _OPERATIONS[change.operation], *change.values)
                elif change.values:
                    entry[change.attribute] = _listed(change.values)
                    entry[change.attribute].status = _REPLACED
                else:
                    entry.change_attribute(change.attribute, _OPERATIONS[Operation.REPLACE])
            entry.modify(self._timeout)

    def delete(self, dn: str) -> None:
        with _translated(f"Deleting {dn} failed"):
            self._connection.delete(dn, self._timeout)

    def root_dse(self) -> Entry:
        entry = self.read("", ROOT_DSE)
        if entry is None:
            raise LdapUnavailable("the controller does not describe itself")
        return entry

    def close(self) -> None:
        with suppress(bonsai_errors.LDAPError):
            self._connection.close()

    def _learn(self, base: str, scope: Scope, filter: str) -> None:
        """Find out which attributes `*` stands for there, so that their values are left as they are."""
        with _translated(f"Searching {base} failed"):
            self._client.set_sd_flags(None)
            page = self._connection.paged_search(
                base, _SCOPES[scope], filter, ["*"], timeout=self._timeout, attrsonly=True, page_size=PAGE
            )
            while True:
                for each in page:
                    self._keep_raw([name for name in each if name != "dn"])
                following = page.acquire_next_page()
                if following is None:
                    return
                page = self._connection.get_result(following, self._timeout)

    def _keep_raw(self, attributes: Sequence[str]) -> None:
        new = {name.lower() for name in attributes} - self._raw
        if new:
            self._raw |= new
            self._client.set_raw_attributes(sorted(self._raw))


def _entry(found: Any) -> Entry:
    return Entry(str(found.dn), Attributes({name: found[name] for name in found if name != "dn"}))


def _listed(values: Sequence[bytes]) -> Any:
    """Past bonsai's own check for duplicates, which takes two certificates that agree up to a zero for one."""
    listed: Any = bonsai.ldapvaluelist.LDAPValueList()
    for value in values:
        listed._append_unchecked(value)
    listed.added.extend(values)
    return listed


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Bonsai's errors as ours."""
    try:
        yield
    except (
        bonsai_errors.ConnectionError,
        bonsai_errors.ClosedConnection,
        bonsai_errors.TimeoutError,
        bonsai_errors.InvalidMessageID,
    ) as error:
        raise LdapUnavailable(f"{what}: {_words(error)}") from error
    except bonsai_errors.LDAPError as error:
        words = _words(error)
        code = error.code
        if code < 0 or code in (51, 52):  # of the library itself; busy, unavailable
            raise LdapUnavailable(f"{what}: {words}") from error
        raise LdapError(f"{what}: {words}", code, words) from error


def _words(error: Exception) -> str:
    said = str(error.args[0]) if error.args else type(error).__name__
    return _CODE.sub("", said).strip().rstrip(".\0")
