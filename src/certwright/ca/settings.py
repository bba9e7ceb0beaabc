"""The keys of a CA's settings: what each means, its default, and how its text is read and written.

`SETTINGS` documents every key; nothing else may be set. Values are checked here one by one; rules between them stand
in `configuration`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from certwright.adcs.enrollment_servers import (
    EnrollmentServer,
    parse_enrollment_servers,
    write_enrollment_servers,
)
from certwright.adcs.restrictions import Restrictions
from certwright.ca.periods import Period
from certwright.ca.urls import parse_urls
from certwright.pki.general_names import is_host_name

DEFAULT_SECURITY: Final = "O:BAG:BAD:(A;;0xf;;;BA)(A;;0xf;;;DA)(A;;0xf;;;EA)(A;;0x200;;;AU)"
"""Administrators hold every role, authenticated users may enroll. [MS-CSRA] 3.1.1.7. Masks: `CaAccess`."""

MAX_SKEW: Final = timedelta(days=1)

MAX_FOLDERS: Final = 10

MIN_PARTITION: Final = 100
MAX_PARTITION: Final = 10_000_000
"""Certificates of a CRL partition."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: what it means, what it is when nobody set it, and how its text is read and written."""

    key: str
    default: str
    meaning: str  # for `certwright ca show`
    read: Callable[[str], object]  # raises ValueError with what would be accepted
    write: Callable[[Any], str] = str

    @property
    def attribute(self) -> str:
        """Name of the field of `CaConfiguration`."""
        return self.key.replace("-", "_")


# -- how values are read ---------------------------------------------------------------------------------------------


def _switch(text: str) -> bool:
    match text.strip().lower():
        case "on" | "yes" | "true" | "1":
            return True
        case "off" | "no" | "false" | "0":
            return False
    raise ValueError(f"{text!r} is neither on nor off")


def _on_off(value: bool) -> str:
    return "on" if value else "off"


def _choice(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        word = text.strip().lower()
        if word not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return word

    return read


def _some_of(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        words = {part.strip().lower() for part in text.split(",") if part.strip()}
        if unknown := words.difference(allowed):
            raise ValueError(f"{', '.join(sorted(unknown))} is none of {', '.join(allowed)}")
        return tuple(word for word in allowed if word in words)

    return read


def _period(*, most: timedelta | None = None, zero: bool = False) -> Callable[[str], Period]:
    def read(text: str) -> Period:
        period = Period.parse(text)
        if not period.count and not zero:
            raise ValueError("it must be longer than nothing")
        if most is not None and period.longest > most:
            raise ValueError(f"{text!r} is too long: at most {int(most / timedelta(hours=1))} hours are possible")
        return period

    return read


def _optional_period(text: str) -> Period | None:
    """None is worked out; so is a period of nothing, as on Windows (CRLOverlapUnits 0)."""
    period = None if text.strip().lower() in ("", "auto") else Period.parse(text)
    return period if period is not None and period.count else None


def _switchable_period(text: str) -> Period | None:
    """None is off; so is a period of nothing, as on Windows (CRLDeltaPeriodUnits 0)."""
    period = None if text.strip().lower() in ("", "off") else Period.parse(text)
    return period if period is not None and period.count else None


def _partition_size(text: str) -> int | None:
    word = text.strip().lower()
    if word in ("", "off", "0"):
        return None
    if not word.isascii() or not word.isdigit() or not MIN_PARTITION <= int(word) <= MAX_PARTITION:
        raise ValueError(f"{text!r} is neither off nor a number from {MIN_PARTITION} to {MAX_PARTITION}")
    return int(word)


def _host(text: str) -> str:
    name = text.strip().rstrip(".").lower()
    if name and not is_host_name(name):
        raise ValueError(f"{text!r} is no DNS host name, such as ca.corp.example")
    return name


def _sddl(text: str) -> str:
    """The shape only: names in it are resolved by whoever knows the domain."""
    sddl = text.strip()
    if "D:" not in sddl:
        raise ValueError("a security descriptor in SDDL needs a DACL, such as D:(A;;0x3;;;BA)(A;;0x200;;;AU)")
    return sddl


def _distinguished_name(text: str) -> str:
    name = text.strip()
    if name and "=" not in name:
        raise ValueError(f"{text!r} is no distinguished name, such as DC=corp,DC=example")
    return name


def _site(text: str) -> str:
    """One label of a DNS name: domain controllers register themselves below it. [MS-ADTS] 6.3.2.3."""
    name = text.strip()
    if name and ("." in name or not is_host_name(name)):
        raise ValueError(f"{text!r} is no name of a site, such as Default-First-Site-Name")
    return name


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))


def _url_setting(key: str, default: str, meaning: str) -> Setting:
    return Setting(key, default, meaning, _urls, lambda urls: " ".join(urls) or _NO_URLS)


def _urls(text: str) -> tuple[str, ...]:
    return () if text.strip().lower() == _NO_URLS else parse_urls(text)


_NO_URLS: Final = "none"


def _folders(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for url in text.split():
        if url.lower() == _NO_URLS:
            continue
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not Path(path).is_absolute():
            raise ValueError(f"{url!r} is no folder of this host, such as file:///srv/pki/CertEnroll")
        if "\0" in path or ".." in Path(path).parts:
            raise ValueError(f"{url!r} is no plain path")
        found.append(str(Path(path)))
    if len(found) > MAX_FOLDERS:
        raise ValueError(f"at most {MAX_FOLDERS} folders are possible")
    return tuple(dict.fromkeys(found))


def _servers(text: str) -> tuple[EnrollmentServer, ...] | None:
    """None for those of this installation."""
    match text.strip().lower():
        case "auto" | "":
            return None
        case "none":
            return ()
    return parse_enrollment_servers(text)


SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        setting.key: setting
        for setting in (
            Setting(
                "dns-name",
                "",
                "DNS name of the server this CA runs on: %1 in URLs and file names, and the host in its"
                " configuration string.",
                _host,
            ),
            Setting(
                "directory-dn",
                "",
                "Distinguished name of the domain, for LDAP URLs: %5, and %6 for its configuration container.",
                _distinguished_name,
            ),
            Setting(
                "validity-period",
                "2 years",
                "Longest validity of an issued certificate, counted from now, whatever its template allows.",
                _period(),
            ),
            Setting(
                "clock-skew",
                "10 minutes",
                "How far certificates and CRLs are dated back, for clients whose clock is behind; at most a day.",
                _period(most=MAX_SKEW, zero=True),
            ),
            Setting("crl-period", "1 weeks", "Time from one base CRL to the next.", _period()),
            Setting(
                "crl-overlap",
                "auto",
                "How much longer than its period a CRL stays valid, for publication to fail in and be mended; auto is"
                " a tenth of the period, at most 12 hours.",
                _optional_period,
                lambda period: "auto" if period is None else str(period),
            ),
            Setting(
                "delta-crl-period",
                "off",
                "Time from one delta CRL to the next, which says only what changed since a base CRL; off makes none."
                " Base CRLs and new certificates then name it where a URL of cdp-urls has %9 or %10.",
                _switchable_period,
                lambda period: "off" if period is None else str(period),
            ),
            Setting(
                "crl-partition-size",
                "off",
                "How many certificates share a CRL: request IDs are counted off by this number, and new certificates"
                " name the CRL of their range (%8 in cdp-urls), which stays short; off has them all name the one CRL"
                " of everything. That one is published either way.",
                _partition_size,
                lambda size: "off" if size is None else str(size),
            ),
            Setting(
                "crl-keeps-expired",
                "off",
                "Whether revoked certificates stay on CRLs after they expired, for what is checked years later; off"
                " takes them off one CRL after their end, as AD CS does.",
                _switch,
                _on_off,
            ),
            _url_setting(
                "cdp-urls",
                "http://%1/CertEnroll/%3%8%9.crl",
                "Where issued certificates say the CRL lies; blanks separate several URLs, none means none. %1 is the"
                " DNS name, %3 the CA's name, %8 the number of its key, %9 a + for delta CRLs; %% a percent sign.",
            ),
            _url_setting(
                "aia-urls",
                "http://%1/CertEnroll/%1_%3%4.crt",
                "Where issued certificates say the CA's own certificate lies; %4 is the number of that certificate.",
            ),
            _url_setting("ocsp-urls", _NO_URLS, "Online responders that issued certificates name."),
            Setting(
                "publication-folders",
                _NO_URLS,
                "Further folders that CRLs and CA certificates are put into, such as those of web servers that are"
                " mounted here: file:///srv/pki/CertEnroll, with blanks between several. They must exist.",
                _folders,
                lambda folders: " ".join(Path(folder).as_uri() for folder in folders) or _NO_URLS,
            ),
            Setting(
                "directory-publication",
                "off",
                "Whether this CA, its certificates and CRLs are kept in the Active Directory domain that the"
                " installation belongs to; certwright domain publish switches it on.",
                _switch,
                _on_off,
            ),
            Setting(
                "directory-site",
                "",
                "The site of Active Directory that the domain tells its members this CA is in (msPKI-Site-Name), for"
                " those that prefer a CA of their own; empty is the site of this host.",
                _site,
            ),
            Setting(
                "enrollment-servers",
                "auto",
                "Enrollment web services (CES) that the domain tells its members of: auto for those of this"
                " installation, none, or PRIORITY AUTHENTICATION URL; ... with anonymous, kerberos, password or"
                " certificate, and after the URL renewal-only or key-based-renewal.",
                _servers,
                lambda servers: "auto" if servers is None else write_enrollment_servers(servers) or _NO_URLS,
            ),
            Setting(
                "security-descriptor",
                DEFAULT_SECURITY,
                "Who holds which role, as SDDL: 0x1 CA administrator, 0x2 certificate manager, 0x4 auditor,"
                " 0x8 backup operator, 0x100 read, 0x200 enroll.",
                _sddl,
            ),
            Setting(
                "enrollment-agents",
                "",
                "Which enrollment agent may ask with which template for whom: WHO:TEMPLATE:TARGET; ... with SIDs, and"
                " * for any. Empty restricts nobody; a template of schema 1 is only for agents named with it.",
                Restrictions.parse,
            ),
            Setting(
                "officer-rights",
                "",
                "Which certificate manager may act on requests of which template for whom, written like"
                " enrollment-agents. Empty restricts nobody.",
                Restrictions.parse,
            ),
            Setting(
                "approve-own-requests",
                "on",
                "off refuses a certificate manager who issues a request of its own or one it made for others.",
                _switch,
                _on_off,
            ),
            Setting(
                "role-separation",
                "off",
                "on refuses whoever holds two of the roles administrator, certificate manager, auditor and backup"
                " operator.",
                _switch,
                _on_off,
            ),
            Setting(
                "retrieval-by-anyone",
                "off",
                "on lets everybody who may enroll fetch any request by its ID, as AD CS does; off only requester and"
                " officers.",
                _switch,
                _on_off,
            ),
            Setting(
                "suspended",
                "off",
                "on lets the CA issue nothing: requests are refused and stay with whoever asks. It goes on revoking,"
                " publishing CRLs and answering what it issued.",
                _switch,
                _on_off,
            ),
            Setting(
                "request-disposition",
                "pend",
                "What a standalone CA does with a request that breaks no rule: pend, issue or deny. An enterprise CA"
                " does what the template says.",
                _choice("pend", "issue", "deny"),
            ),
            Setting(
                "channel-binding",
                "require",
                "Whether NTLM and Kerberos must be bound to their TLS connection: off ignores bindings, allow refuses"
                " wrong ones, require also missing ones.",
                _choice("off", "allow", "require"),
            ),
            Setting(
                "ntlm-mic",
                "on",
                "Whether NTLM messages must carry a MIC where channel-binding=require. A client that sends the right"
                " binding and no MIC is refused, and taken with off.",
                _switch,
                _on_off,
            ),
            Setting("ntlm", "on", "Whether NTLM is offered at web enrollment.", _switch, _on_off),
            Setting("negotiate", "on", "Whether Negotiate (SPNEGO) is offered at web enrollment.", _switch, _on_off),
            Setting("basic", "on", "Whether Basic is offered at web enrollment, inside TLS only.", _switch, _on_off),
            Setting(
                "enrollment-ntlm",
                "off",
                "Whether NTLM is taken at the Kerberos addresses of CEP and CES.",
                _switch,
                _on_off,
            ),
            Setting(
                "renewal-on-behalf",
                "off",
                "on lets whoever holds the key of a certificate renew it without logging on to an account, where its"
                " template allows key-based renewal (EDITF_ENABLERENEWONBEHALFOF).",
                _switch,
                _on_off,
            ),
            Setting(
                "renewal-only",
                "",
                "Which addresses of CES take renewals and nothing else: any of kerberos, username, certificate.",
                _some_of("kerberos", "username", "certificate"),
                ", ".join,
            ),
            Setting(
                "list-all-templates",
                "off",
                "on lets CEP list every published template, also those that the caller may neither enroll nor"
                " autoenroll for.",
                _switch,
                _on_off,
            ),
            Setting(
                "overrides",
                "",
                "Escalations that settings open and somebody accepted, such as ESC8; ca set --override writes it.",
                _numbers,
                ", ".join,
            ),
        )
    }
)
