"""`directory.base.Directory` over a domain: what the CA asks of Active Directory, from memory for some seconds.

A principal's answer is used for `cache_seconds`, and `stale_seconds` longer while no controller answers; then a
question raises `LdapUnavailable`, and a request fails plainly instead of being decided on what may no longer be true.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import structlog

from certwright.adcs.acl import sid_from_bytes
from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate
from certwright.directory.active_directory import principals
from certwright.directory.active_directory.ldap import (
    Entry,
    LdapConnection,
    LdapError,
    LdapPool,
    LdapUnavailable,
    ResultCode,
    Scope,
    escape,
)
from certwright.directory.active_directory.locating import DomainController, SiteLink, Topology, by_cost
from certwright.directory.active_directory.public_key_services import PublicKeyServices, TemplateFinding
from certwright.directory.active_directory.settings import DomainSettings
from certwright.directory.base import (
    Domain,
    EnrollmentService,
    LogonFailure,
    LogonRefused,
    Principal,
    PrincipalKind,
)
from certwright.directory.snapshot import MAX_NAME
from certwright.directory.well_known import BUILTIN, COMPUTED_GROUPS
from certwright.pki.names import sanitized_short_name

log = structlog.get_logger(__name__)

MAX_PRINCIPALS: Final = 20_000  # kept in memory
UNKNOWN_FOR: Final = 2.0  # seconds for which nobody of a name is asked for again
MAX_SIDS: Final = 200  # in one question

VerifyBind = Callable[[DomainController, DomainSettings, str, str], LdapConnection]

# The reason in the words of a refused bind. [MS-ERREF] 2.2
_BIND_DATA: Final = re.compile(r"\bdata ([0-9a-fA-F]+)\b")
_BIND_REASONS: Final = {
    0x525: LogonFailure.UNKNOWN_ACCOUNT,
    0x52E: LogonFailure.WRONG_PASSWORD,
    0x530: LogonFailure.NOT_NOW_OR_NOT_HERE,
    0x531: LogonFailure.NOT_NOW_OR_NOT_HERE,
    0x532: LogonFailure.PASSWORD_EXPIRED,
    0x533: LogonFailure.DISABLED,
    0x701: LogonFailure.EXPIRED,
    0x773: LogonFailure.MUST_CHANGE_PASSWORD,
    0x775: LogonFailure.LOCKED_OUT,
}


class Names(NamedTuple):
    """The naming contexts of the forest. [MS-ADTS] 3.1.1.3.2."""

    domain: str
    configuration: str


class _Answer(NamedTuple):
    principal: Principal | None
    when: float


class ActiveDirectory:
    """Implements `directory.base.Directory`, and checks passwords by a bind over TLS. Thread-safe.

    Args:
        bind: simple bind over TLS, for passwords.
        clock: the time, aware: accounts expire.
    """

    def __init__(
        self,
        pool: LdapPool,
        settings: DomainSettings,
        *,
        bind: VerifyBind | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.pool = pool
        self.settings = settings
        self._bind = bind or _bind
        self._monotonic = monotonic
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._names: Names | None = None
        self._domain: Domain | None = None
        if settings.domain_sid is not None and settings.netbios_name:
            self._domain = Domain(
                settings.dns_domain, settings.netbios_name, settings.domain_sid, _domain_dn(settings.dns_domain)
            )
        self._services = PublicKeyServices(
            pool,
            lambda: self.names.configuration,
            settings.cache_seconds + settings.stale_seconds,
            monotonic,
        )

    # -- Directory -----------------------------------------------------------------------------------------------

    @property
    def domain(self) -> Domain:
        """Known from the settings, or read once.

        Raises:
            LdapUnavailable: it is not known, and no controller answers.
        """
        if self._domain is None:
            self._meet()
        assert self._domain is not None
        return self._domain

    def principal(self, name_or_sid: str) -> Principal | None:
        """Raises `LdapUnavailable` when no controller answers and nothing fresh enough is known."""
        if not name_or_sid or len(name_or_sid) > MAX_NAME:
            return None
        key = name_or_sid.casefold()
        computed = _COMPUTED.get(key)
        if computed is not None:
            return computed
        now = self._monotonic()
        with self._lock:
            known = self._answers.get(key)
        if known is not None and now - known.when < self._good_for(known):
            return known.principal
        try:
            found = self.pool.run(lambda connection: self._find(connection, name_or_sid))
        except LdapUnavailable as error:
            limit = self.settings.cache_seconds + self.settings.stale_seconds
            if known is not None and known.principal is not None and now - known.when <= limit:
                log.warning("principal_not_refreshed", account=known.principal.account, reason=error.message)
                return known.principal
            raise
        self._remember(key, _Answer(found, now))
        if found is not None:
            self._remember(found.sid.casefold(), _Answer(found, now))
        return found

    def templates(self) -> Mapping[str, CertificateTemplate]:
        """Raises `LdapUnavailable`, as `principal`."""
        return self._services.picture().templates

    def findings(self) -> Sequence[TemplateFinding]:
        """Templates that are passed over because of what is in them. Raises as `templates`."""
        return self._services.picture().findings

    def enrollment_service(self, ca_name: str) -> EnrollmentService | None:
        """Raises `LdapUnavailable`, as `principal`."""
        return self._services.picture().services.get(sanitized_short_name(ca_name).casefold())

    def enrollment_services(self) -> Sequence[EnrollmentService]:
        return tuple(self._services.picture().services.values())

    def sid_names(self, sids: frozenset[Sid]) -> Mapping[Sid, str]:
        """What can be found out; while no controller answers, what is known."""
        found: dict[Sid, str] = {}
        wanted = []
        with self._lock:
            for sid in sids:
                known = self._answers.get(sid.casefold())
                computed = _COMPUTED.get(sid.casefold())
                if computed is not None:
                    found[sid] = computed.account
                elif known is not None and known.principal is not None:
                    found[sid] = known.principal.account
                elif sid.startswith("S-1-5-"):
                    wanted.append(sid)
        try:
            for start in range(0, len(wanted), MAX_SIDS):
                part = frozenset(wanted[start : start + MAX_SIDS])
                found |= self.pool.run(partial(self._account_names, sids=part))
        except LdapUnavailable as error:
            log.warning("sid_names_not_found", reason=error.message)
        return found

    # -- logging on ----------------------------------------------------------------------------------------------

    def verify_password(self, name: str, password: str) -> Principal:
        """Check a password by a bind over TLS; a controller counts failures and locks accounts by its own rules.

        Raises:
            LogonRefused: with the reason, which belongs in the log only.
            LdapUnavailable: no controller answers.
        """
        principal = self.principal(name)
        if principal is None:
            foreign = principals.is_of_another_domain(name, self.domain)
            raise LogonRefused(LogonFailure.OTHER_DOMAIN if foreign else LogonFailure.UNKNOWN_ACCOUNT)
        if principal.kind is PrincipalKind.GROUP:
            raise LogonRefused(LogonFailure.NOT_A_LOGON_ACCOUNT)
        if not password:
            raise LogonRefused(LogonFailure.WRONG_PASSWORD)  # a bind without one is anonymous. RFC 4513 5.1.2
        try:
            self._check(principal.account, password)
        except LdapError as error:
            if error.code != ResultCode.INVALID_CREDENTIALS:
                raise
            raise LogonRefused(_reason(error.words)) from error
        if principal.obstacle is not None:
            self.forget(principal.sid)  # the controller knows better than what we remember
            principal = self.principal(principal.sid) or principal
        if principal.obstacle is not None:
            raise LogonRefused(principal.obstacle)
        return principal

    def _check(self, account: str, password: str) -> None:
        """Bind at the controller that answers now or, when it has just gone, at another one."""
        current = self.pool.run(lambda connection: connection.controller)
        others = [each for each in self.pool.controllers if each != current]
        for controller in (current, *others):
            try:
                self._bind(controller, self.settings, account, password).close()
            except LdapUnavailable:
                if controller == (current, *others)[-1]:
                    raise
            else:
                return

    # -- keeping up ----------------------------------------------------------------------------------------------

    def forget(self, name_or_sid: str | None = None) -> None:
        """Ask again about one principal, or about all of them and everything else, at the next question."""
        with self._lock:
            if name_or_sid is None:
                self._answers.clear()
            else:
                known = self._answers.pop(name_or_sid.casefold(), None)
                if known is not None and known.principal is not None:
                    gone = known.principal.sid
                    for key in [k for k, each in self._answers.items() if _is(each.principal, gone)]:
                        del self._answers[key]
        if name_or_sid is None:
            self._services.forget()

    def forget_services(self) -> None:
        """See every change of templates and enrollment services made before this call, at the next question."""
        self._services.forget()

    def close(self) -> None:
        self.pool.close()

    @property
    def names(self) -> Names:
        """Raises `LdapUnavailable` when they are not known yet and no controller answers."""
        if self._names is None:
            self._meet()
        assert self._names is not None
        return self._names

    # -- inside --------------------------------------------------------------------------------------------------

    def _good_for(self, answer: _Answer) -> float:
        seconds = self.settings.cache_seconds
        return seconds if answer.principal is not None else min(seconds, UNKNOWN_FOR)

    def _remember(self, key: str, answer: _Answer) -> None:
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > MAX_PRINCIPALS:
                self._answers.popitem(last=False)

    def _find(self, connection: LdapConnection, text: str) -> Principal | None:
        try:
            name = principals.find(connection, text, self.domain, self._names_by(connection).domain)
        except ValueError:
            return None  # no SID, for all its beginning like one
        entry = connection.read(name, principals.ATTRIBUTES) if name is not None else None
        if entry is None or "objectSid" not in entry.attributes:
            return None
        try:
            return principals.principal_from_entry(entry, self.domain, self._clock())
        except ValueError as error:
            log.warning("principal_passed_over", asked=text, reason=str(error))
            return None

    def _account_names(self, connection: LdapConnection, sids: frozenset[Sid]) -> dict[Sid, str]:
        found: dict[Sid, str] = {}
        names = self._names_by(connection)
        wanted = ["objectSid", "sAMAccountName"]
        for entry in connection.search(names.domain, Scope.SUBTREE, principals.sid_filter(sids), wanted):
            octets, name = entry.value("objectSid"), entry.text("sAMAccountName")
            if octets is not None and name:
                sid = sid_from_bytes(octets)[0]
                authority = BUILTIN if sid.startswith(principals.BUILTIN_SIDS) else self.domain.netbios_name
                found[sid] = f"{authority}\\{name}"
        return found

    def _names_by(self, connection: LdapConnection) -> Names:
        if self._names is None:
            self._learn(connection)
        assert self._names is not None
        return self._names

    def _meet(self) -> None:
        """The first contact: what the domain is called, and which controllers are near."""
        self.pool.run(self._learn)

    def _learn(self, connection: LdapConnection) -> None:
        root = connection.root_dse()
        names = read_names(root)
        domain = read_domain(connection, names, self.settings)
        if self.settings.domain_sid not in (None, domain.sid):
            raise ConfigurationError(
                f"{connection.controller.host} is a controller of {domain.dns_name} with the SID {domain.sid}, not of"
                f" the domain this installation was joined to ({self.settings.domain_sid}); correct [directory] in"
                " certwright.toml"
            )
        self._names, self._domain = names, domain
        if len(self.pool.controllers) > 1:
            self._order_by_cost(connection, names)

    def _order_by_cost(self, connection: LdapConnection, names: Names) -> None:
        """Put near controllers first, where they were found by DNS and the site is known."""
        own = self.settings.site or connection.controller.site
        if not own or self.settings.controllers:
            return
        topology = read_topology(connection, names.configuration)
        self.pool.prefer(lambda known: by_cost(known, topology, own))


def read_topology(connection: LdapConnection, configuration_dn: str) -> Topology:
    """Servers and site links of the forest. [MS-ADTS] 6.1.1.2.2."""
    sites = f"CN=Sites,{configuration_dn}"
    site_of: dict[str, str] = {}
    for entry in connection.search(sites, Scope.SUBTREE, "(&(objectClass=server)(dNSHostName=*))", ["dNSHostName"]):
        site_of[entry.text("dNSHostName").lower()] = _rdn(entry.dn.split(",CN=Servers,", 1)[-1])
    links = []
    for entry in connection.search(sites, Scope.SUBTREE, "(objectClass=siteLink)", ["siteList", "cost"]):
        links.append(SiteLink(frozenset(map(_rdn, entry.texts("siteList"))), entry.number("cost", 100)))
    return Topology(site_of, links)


def _rdn(dn: str) -> str:
    return dn.split(",", 1)[0].removeprefix("CN=")


def read_names(root: Entry) -> Names:
    return Names(root.text("defaultNamingContext"), root.text("configurationNamingContext"))


def read_domain(connection: LdapConnection, names: Names, settings: DomainSettings) -> Domain:
    """What the domain is called.

    Raises:
        ConfigurationError: the account may not read it.
    """
    head = connection.read(names.domain, ["objectSid"])
    sid = head.value("objectSid") if head is not None else None
    crosses: Sequence[Entry] = list(
        connection.search(
            f"CN=Partitions,{names.configuration}",
            Scope.ONE_LEVEL,
            f"(&(objectClass=crossRef)(nCName={escape(names.domain)}))",
            ["nETBIOSName", "dnsRoot"],
        )
    )
    if sid is None or len(crosses) != 1:
        raise ConfigurationError(
            f"the account {settings.account} may not read the head of the domain {settings.dns_domain} or its entry"
            " in the container Partitions; give it the rights that Authenticated Users have by default"
        )
    return Domain(
        crosses[0].text("dnsRoot", settings.dns_domain),
        crosses[0].text("nETBIOSName"),
        sid_from_bytes(sid)[0],
        names.domain,
    )


def _reason(words: str) -> LogonFailure:
    found = _BIND_DATA.search(words)
    code = int(found.group(1), 16) if found else 0
    return _BIND_REASONS.get(code, LogonFailure.WRONG_PASSWORD)


def _is(principal: Principal | None, sid: Sid) -> bool:
    return principal is not None and principal.sid == sid


def _domain_dn(dns_domain: str) -> str:
    return ",".join(f"DC={label}" for label in dns_domain.split("."))


def _bind(controller: DomainController, settings: DomainSettings, name: str, password: str) -> LdapConnection:
    from certwright.directory.active_directory.bonsai_connection import bind  # compiled: when first used

    return bind(controller, settings, name, password)


def _computed() -> Mapping[str, Principal]:
    """Well-known groups without members, by SID and by their names."""
    found: dict[str, Principal] = {}
    for group in COMPUTED_GROUPS:
        account = f"{group.authority}\\{group.name}" if group.authority else group.name
        principal = Principal(
            sid=group.sid,
            kind=PrincipalKind.GROUP,
            account=account,
            common_name=group.name,
            distinguished_name="",
            guid=b"",
            enabled=True,
            groups=frozenset(),
        )
        for name in (group.sid, account, *((group.name,) if group.authority != BUILTIN else ())):
            found[name.casefold()] = principal
    return found


_COMPUTED: Final = _computed()
