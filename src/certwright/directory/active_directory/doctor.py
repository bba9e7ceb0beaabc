"""What may be wrong between an installation and its domain, looked at piece by piece: each finding with its fix.

Every function looks at one thing and gives `Check`s; who calls them in which order, and with which settings, is the
server's business. Nothing is changed.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, Protocol

from certwright.adcs.errors import AdcsError
from certwright.directory.active_directory.directory import ActiveDirectory, Names
from certwright.directory.active_directory.ldap import Entry, LdapConnection, LdapError, Scope, escape
from certwright.directory.active_directory.locating import LDAP_PORT, LDAPS_PORT, DomainController, LookUp, locate
from certwright.directory.active_directory.principals import AccountControl
from certwright.directory.active_directory.public_key_services import container
from certwright.directory.active_directory.publication import CONTAINERS
from certwright.directory.active_directory.settings import DomainSettings
from certwright.pki.certificate import CertificateView

KERBEROS_PORT: Final = 88
MAX_SKEW: Final = timedelta(minutes=5)
"""More, and no ticket is taken. RFC 4120 1.6, [MS-KILE] 3.3.1."""
UNEASY_SKEW: Final = timedelta(minutes=1)
SLOW: Final = 1.0  # seconds for one question
TLS_WARNING: Final = timedelta(days=14)

AES_KEYS: Final = frozenset({17, 18, 19, 20})
_AES_BITS: Final = 0x18  # msDS-SupportedEncryptionTypes. [MS-KILE] 2.2.7
_NEVER_EXPIRES: Final = 0x1_0000
_ASKED: Final = (
    *("sAMAccountName", "msDS-KeyVersionNumber", "msDS-SupportedEncryptionTypes", "userAccountControl"),
    "servicePrincipalName",
)


class Verdict(Enum):
    GOOD = "ok"
    NOTE = "note"  # works, with less than there could be
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str  # dns, tcp, tls, ...
    subject: str
    verdict: Verdict
    sentence: str
    fix: str = ""


class KeytabKey(Protocol):
    """A key of a keytab, without the key."""

    @property
    def principal(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def encryption(self) -> int: ...


def _good(name: str, subject: str, sentence: str) -> Check:
    return Check(name, subject, Verdict.GOOD, sentence)


def _note(name: str, subject: str, sentence: str, fix: str) -> Check:
    return Check(name, subject, Verdict.NOTE, sentence, fix)


def _wrong(name: str, subject: str, sentence: str, fix: str) -> Check:
    return Check(name, subject, Verdict.WRONG, sentence, fix)


# -- the way to a controller -----------------------------------------------------------------------------------------


def find_controllers(
    settings: DomainSettings, look_up: LookUp | None = None
) -> tuple[Sequence[Check], Sequence[DomainController]]:
    """By DNS or by the settings, and whether their names stand for addresses."""
    try:
        found = locate(settings, look_up=look_up)
    except AdcsError as error:
        fix = (
            "use a name server of the domain for this host, or name one with name-servers in certwright.toml; or name"
            " the controllers there"
        )
        return [_wrong("dns", settings.dns_domain, error.message, fix)], []
    where = "certwright.toml" if settings.controllers else "DNS"
    checks = [
        _good("dns", settings.dns_domain, f"{len(found)} domain controllers by {where}: {_listed(found)}"),
    ]
    reachable = []
    for controller in found:
        try:
            socket.getaddrinfo(controller.host, controller.port, type=socket.SOCK_STREAM)
        except OSError as error:
            checks.append(
                _wrong(
                    "dns",
                    controller.host,
                    f"the name has no address here: {error.strerror or error}",
                    "let this host use a name server that knows the domain, or correct controllers",
                )
            )
        else:
            reachable.append(controller)
    return checks, reachable


def check_own_name(hostname: str) -> Check:
    """Clients and domain controllers find this host by the name in its certificates."""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        return _wrong(
            "dns",
            hostname,
            f"this host's own name has no address: {error.strerror or error}",
            f"add an A or AAAA record for {hostname} in the domain's DNS",
        )
    return _good("dns", hostname, f"stands for {', '.join(sorted(found))}")


def check_ports(controller: DomainController, timeout: float) -> Sequence[Check]:
    ports = (
        (controller.port, "LDAP"),
        (LDAPS_PORT, "LDAP over TLS"),
        (KERBEROS_PORT, "Kerberos"),
    )
    checks = []
    for port, service in ports if controller.port == LDAP_PORT else ports[:1]:
        subject = f"{controller.host}:{port}"
        begun = time.monotonic()
        try:
            socket.create_connection((controller.host, port), timeout).close()
        except TimeoutError:
            fix = f"open TCP port {port} to {controller.host} in the firewalls between"
            checks.append(_wrong("tcp", subject, f"{service} does not answer within {timeout:g} seconds", fix))
        except OSError as error:
            fix = f"start {service} on the controller, or open TCP port {port} to it"
            checks.append(_wrong("tcp", subject, f"{service} refuses: {error.strerror or error}", fix))
        else:
            checks.append(_good("tcp", subject, f"{service} answers in {_milliseconds(begun)}"))
    return checks


def check_tls(controller: DomainController, settings: DomainSettings, now: datetime) -> Check:
    """LDAPS with the certificates that are trusted here: passwords of people go this way."""
    subject = f"{controller.host}:{LDAPS_PORT}"
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        with (
            socket.create_connection((controller.host, LDAPS_PORT), settings.timeout) as link,
            context.wrap_socket(link, server_hostname=controller.host) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        where = f"ca-file ({settings.ca_file})" if settings.ca_file else "what this system trusts"
        fix = (
            f"put the certificate of the CA that issued it into {where}, or give the controller a certificate with"
            f" its full name {controller.host}"
        )
        return _wrong("tls", subject, f"its certificate is not trusted: {error.verify_message}", fix)
    except FileNotFoundError:
        return _wrong("tls", subject, f"there is no file {settings.ca_file}", "correct ca-file in certwright.toml")
    except OSError as error:
        fix = "give the domain controller a certificate for LDAP over TLS; Basic logons are checked through it"
        return _wrong("tls", subject, f"LDAP over TLS does not work: {error.strerror or error}", fix)
    ends = CertificateView.parse(der).not_after if der else now
    if ends - now < TLS_WARNING:
        return _note("tls", subject, f"its certificate ends on {ends:%Y-%m-%d}", "renew it on the controller")
    return _good("tls", subject, f"trusted, until {ends:%Y-%m-%d}")


def bind(
    controller: DomainController,
    settings: DomainSettings,
    connect: Callable[[DomainController, DomainSettings], LdapConnection],
) -> tuple[Sequence[Check], LdapConnection | None]:
    """As the service account; and how long a question takes."""
    begun = time.monotonic()
    try:
        connection = connect(controller, settings)
        connected = _milliseconds(begun)
        begun = time.monotonic()
        connection.root_dse()
    except AdcsError as error:
        kind = "keytab" if settings.keytab else "password"
        fix = (
            f"check account and {kind} in [directory]; with Kerberos also the clock, and that the realm's controllers"
            " are found (DNS, or krb5.conf)"
        )
        return [_wrong("bind", controller.host, error.message, fix)], None
    took = time.monotonic() - begun
    checks = [_good("bind", controller.host, f"{settings.account} is let in, in {connected}")]
    if took > SLOW:
        fix = "choose nearer controllers (site, controllers), or look for what slows this one down"
        checks.append(_note("time-out", controller.host, f"one question takes {took:.1f} seconds", fix))
    return checks, connection


def check_clock(root: Entry, now: datetime, host: str) -> Check:
    """[MS-ADTS] 3.1.1.3.2.7: currentTime of the controller."""
    said = root.text("currentTime")
    try:
        theirs = datetime.strptime(said[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return _note("clock", host, f"it does not say its time understandably ({said!r})", "compare the clocks")
    skew = abs(now - theirs)
    fix = "synchronise this host's clock with the domain controllers (NTP: chrony, systemd-timesyncd)"
    words = f"the clocks differ by {int(skew.total_seconds())} seconds"
    if skew > MAX_SKEW:
        return _wrong("clock", host, f"{words}; Kerberos allows {int(MAX_SKEW.total_seconds())}", fix)
    return _note("clock", host, words, fix) if skew > UNEASY_SKEW else _good("clock", host, words)


# -- accounts and their keys -----------------------------------------------------------------------------------------


def check_service_account(
    connection: LdapConnection, names: Names, settings: DomainSettings, keys: Sequence[KeytabKey]
) -> Sequence[Check]:
    """The account that reads the directory, and its keys where it has a keytab."""
    entry = _account(connection, names, f"(sAMAccountName={escape(settings.account)})")
    if entry is None:
        fix = "correct account in [directory]: the name without the domain"
        return [_wrong("account", settings.account, "the domain has no such account", fix)]
    checks = []
    control = entry.number("userAccountControl", 0)
    if control & AccountControl.DISABLED:
        checks.append(_wrong("account", settings.account, "it is disabled", "enable the account"))
    if not control & _NEVER_EXPIRES and settings.keytab is None:
        fix = f"set its password to never expire: Set-ADUser {settings.account} -PasswordNeverExpires $true"
        checks.append(_note("account", settings.account, "its password expires one day", fix))
    own = [key for key in keys if key.principal.partition("@")[0].casefold() == settings.account.casefold()]
    if settings.keytab is not None and not own:
        principal = f"{settings.account}@{settings.realm}"
        fix = f"export it: {export_line(principal, settings, str(settings.keytab))}"
        checks.append(_wrong("keytab", str(settings.keytab), f"it has no key of {principal}", fix))
    if own:
        checks += _key_checks(settings.account, own, entry, settings)
    return checks or [_good("account", settings.account, "there, and enabled")]


def check_service_names(
    connection: LdapConnection,
    names: Names,
    settings: DomainSettings,
    hosts: Iterable[str],
    keys: Sequence[KeytabKey] | None,
    account: str = "",
) -> Sequence[Check]:
    """`HTTP/name` of every name of this host: registered once, with a key of today's version in the keytab.

    Args:
        keys: of the listeners' keytab; None without one.
        account: who is to hold the names, for the fix; the service account if nobody is named.
    """
    checks: list[Check] = []
    holder = account or settings.account
    for host in hosts:
        name = f"HTTP/{host}"
        owners = list(
            connection.search(names.domain, Scope.SUBTREE, f"(servicePrincipalName={escape(name)})", _ASKED)
        )
        if not owners:
            fix = f"setspn -S {name} {_netbios_free(holder, settings)}"
            checks.append(_wrong("spn", name, "no account holds this name: there is no Kerberos for it", fix))
            continue
        if len(owners) > 1:
            accounts = sorted(owner.text("sAMAccountName") for owner in owners)
            remove = "; or ".join(f"setspn -D {name} {each}" for each in accounts)
            sentence = f"{len(owners)} accounts hold this name ({', '.join(accounts)}): no ticket is issued for it"
            checks.append(_wrong("spn", name, sentence, f"take it from all but one: {remove}"))
            continue
        owner = owners[0]
        said = owner.text("sAMAccountName")
        if keys is None:
            export = export_line(name, settings, "http.keytab", said)
            fix = f"make one, and name it in [authentication] of certwright.toml: {export}"
            checks.append(_note("spn", name, f"{said} holds it, but no keytab is configured: Kerberos is off", fix))
            continue
        own = [key for key in keys if key.principal.partition("@")[0].casefold() == name.casefold()]
        if not own:
            fix = export_line(name, settings, "http.keytab", said)
            checks.append(_wrong("keytab", name, f"{said} holds it, but the keytab has no key of it", fix))
        else:
            checks += _key_checks(name, own, owner, settings)
    return checks


def _key_checks(name: str, own: Sequence[KeytabKey], entry: Entry, settings: DomainSettings) -> Sequence[Check]:
    account = entry.text("sAMAccountName")
    newest = max(key.version for key in own)
    now = entry.number("msDS-KeyVersionNumber", 0)
    fix = export_line(name, settings, "http.keytab" if "/" in name else str(settings.keytab), account)
    checks: list[Check] = []
    if now and not any(key.version == now for key in own):
        sentence = (
            f"the keytab has version {newest} of the key, {account} has version {now}: its password was changed after"
            " the keytab was made"
        )
        checks.append(_wrong("key version", name, sentence, f"make it again: {fix}"))
    if not any(key.encryption in AES_KEYS for key in own):
        sentence = "the keytab has only keys that are not AES (RC4)"
        remedy = (
            f"switch AES on for {account} (Set-ADUser {account} -KerberosEncryptionType AES128,AES256), set its"
            f" password anew, then: {fix}"
        )
        checks.append(_wrong("encryption", name, sentence, remedy))
    supported = entry.number("msDS-SupportedEncryptionTypes", 0)
    if not supported & _AES_BITS and (supported or "/" in name):
        remedy = f"Set-ADUser {account} -KerberosEncryptionType AES128,AES256, set its password anew, then: {fix}"
        sentence = (
            f"{account} allows RC4 only; only AES is taken here"
            if supported
            else f"{account} does not say that it takes AES, so that its tickets are RC4; only AES is taken here"
        )
        checks.append(_wrong("encryption", name, sentence, remedy))
    return checks or [_good("key version", name, f"{account}, version {now or newest}, AES")]


def _account(connection: LdapConnection, names: Names, condition: str) -> Entry | None:
    found = list(connection.search(names.domain, Scope.SUBTREE, condition, _ASKED, size_limit=2))
    return found[0] if len(found) == 1 else None


def _netbios_free(account: str, settings: DomainSettings) -> str:
    return f"{settings.netbios_name}\\{account}" if settings.netbios_name else account


def export_line(principal: str, settings: DomainSettings, file: str, account: str = "") -> str:
    """How an administrator makes a keytab, on Windows. `*` asks for the password, which is set anew."""
    holder = _netbios_free(account or settings.account, settings)
    whole = principal if "@" in principal else f"{principal}@{settings.realm}"
    return f"ktpass /princ {whole} /mapuser {holder} /pass * /crypto AES256-SHA1 /ptype KRB5_NT_PRINCIPAL /out {file}"


# -- the forest's objects --------------------------------------------------------------------------------------------


def check_containers(connection: LdapConnection, names: Names) -> Sequence[Check]:
    """What a forest keeps below Public Key Services."""
    base = container(names.configuration)
    if connection.read(base, ["cn"]) is None:
        fix = (
            "raise the forest's schema and configuration to at least Windows 2000's (adprep), or let the account read"
        )
        return [_wrong("container", base, "it is missing, or the account may not read it", fix)]
    missing = [name for name in CONTAINERS if connection.read(f"{name},{base}", ["cn"]) is None]
    checks = [
        _wrong(
            "container",
            f"{name},{base}",
            "it is missing, or the account may not read it",
            f"New-ADObject -Type {'msPKI-Enterprise-Oid' if name == 'CN=OID' else 'container'} -Name"
            f' "{name.removeprefix("CN=")}" -Path "{base}", as an administrator of the forest',
        )
        for name in missing
    ]
    return checks or [_good("container", base, f"there, with all {len(CONTAINERS)} below it")]


def check_templates(directory: ActiveDirectory) -> Sequence[Check]:
    """Templates there are, and those that are passed over."""
    templates, findings = directory.templates(), directory.findings()
    checks: list[Check] = [
        _note(
            "template",
            each.cn,
            f"it is passed over: {each.reason}",
            "correct it with Certificate Templates (certtmpl.msc) or an LDAP tool",
        )
        for each in findings
    ]
    if not templates:
        fix = "certwright template --user Administrator install-defaults"
        checks.append(_note("template", directory.domain.dns_name, "the domain has no certificate templates", fix))
    return checks or [_good("template", directory.domain.dns_name, f"{len(templates)} templates")]


def unreadable(name: str, subject: str, error: LdapError) -> Check:
    """A part that could not be looked at."""
    fix = "give the account that reads the directory the rights that Authenticated Users have by default"
    return _wrong(name, subject, error.message, fix)


def summary(checks: Sequence[Check]) -> Mapping[Verdict, int]:
    return {verdict: sum(check.verdict is verdict for check in checks) for verdict in Verdict}


def _listed(controllers: Sequence[DomainController]) -> str:
    shown = ", ".join(f"{each.host}{f' (site {each.site})' if each.site else ''}" for each in list(controllers)[:4])
    return shown + (", ..." if len(controllers) > 4 else "")


def _milliseconds(begun: float) -> str:
    return f"{(time.monotonic() - begun) * 1000:.0f} ms"
