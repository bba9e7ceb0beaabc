"""What is dangerous about a directory around the CAs: PKI objects, domain controllers, accounts. ESC5, 10 and 14."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from certwright.adcs.requester import Sid
from certwright.adcs.security import CONTROL_ACCESS, SecurityDescriptor
from certwright.directory.security_audit.audience import Audience
from certwright.directory.security_audit.entries import (
    ACCOUNT_RESTRICTIONS,
    ALLOWED_TO_ACT,
    ALT_SECURITY_IDENTITIES,
    CREATE_CHILD,
    KEY_CREDENTIAL_LINK,
    PUBLIC_INFORMATION,
    RESET_PASSWORD,
    grants_to_write,
    named,
)
from certwright.directory.security_audit.facts import (
    ControllerFacts,
    ExplicitMapping,
    PkiObject,
    ProtectedAccount,
)
from certwright.directory.security_audit.findings import Finding, Severity

_TAKES_OVER: Final = frozenset({KEY_CREDENTIAL_LINK, ALLOWED_TO_ACT, ACCOUNT_RESTRICTIONS, RESET_PASSWORD})
"""Properties and rights by which somebody becomes a computer."""
_MAPS: Final = frozenset({ALT_SECURITY_IDENTITIES, PUBLIC_INFORMATION})

_TAG: Final = re.compile(r"<([A-Z0-9-]+)>", re.IGNORECASE)
_PREFIX: Final = "X509:"
_STRONG: Final = (frozenset({"I", "SR"}), frozenset({"SKI"}), frozenset({"SHA1-PUKEY"}), frozenset({"I", "SID"}))
"""Mappings that name one certificate, or an issuer and an account. KB5014754; [MS-PKCA] 3.1.5.2.1.5."""

_UPN_MAPPING: Final = 0x4  # CertificateMappingMethods: by the user principal name


def writable_object(found: PkiObject, audience: Audience) -> Finding | None:
    """ESC5: whoever may write it decides which CA is trusted or what one publishes, or becomes the CA's computer."""
    writers = audience.outsiders(_writers(found.security)) - found.may_write
    properties, more = (_TAKES_OVER, CONTROL_ACCESS) if found.is_computer else (None, CREATE_CHILD)
    grants = grants_to_write(found.security, writers, properties, more=more)
    if not grants:
        return None
    who = frozenset(grant.sid for grant in grants)
    shown = ", ".join(sorted(map(audience.named, who)))
    if who <= found.expected.keys():
        reasons = dict.fromkeys(found.expected[sid] for sid in sorted(who))
        return Finding(
            "ESC5",
            Severity.LOW,
            found.dn,
            f"{shown} may change {found.kind}, as it has to.",
            named(grants, audience.named),
            tuple(reasons),
            "Nothing: guard this account and its keytab as you guard the CA.",
            who,
            accepted=True,
        )
    return Finding(
        "ESC5",
        Severity.HIGH,
        found.dn,
        f"{shown} may change {found.kind}.",
        named(grants, audience.named),
        (f"the object is {found.kind}", "its permissions let others than administrators write"),
        f"Take these rights from {shown}: ADSI Edit (or ldp.exe), {found.dn}, Security"
        + (" and Owner." if any(grant.right == "owner" for grant in grants) else "."),
        who,
    )


def _writers(security: SecurityDescriptor) -> frozenset[Sid]:
    entries = security.dacl.entries if security.dacl is not None else ()
    owner = {security.owner} if security.owner is not None else set()
    return frozenset({ace.sid for ace in entries} | owner)


def weak_controller(controller: ControllerFacts) -> Finding | None:
    """ESC10: the domain controller takes a certificate for whichever account its names fit."""
    why = []
    if controller.strong_binding == 0:
        why.append("StrongCertificateBindingEnforcement is 0: the SID in certificates is not looked at")
    if controller.mapping_methods & _UPN_MAPPING:
        why.append("CertificateMappingMethods has 0x4: Schannel maps by the user principal name alone")
    if not why:
        return None
    return Finding(
        "ESC10",
        Severity.HIGH,
        f"domain controller {controller.name}",
        "Whoever may change an account's name may log on as another one with that account's certificate.",
        (),
        tuple(why),
        "Set StrongCertificateBindingEnforcement to 2 and take 0x4 out of CertificateMappingMethods.",
    )


def is_weak(mapping: str) -> bool:
    """Is it an X.509 mapping by names that others can have too? Mappings of Kerberos names are none of X.509."""
    if mapping[: len(_PREFIX)].upper() != _PREFIX:
        return False
    return frozenset(tag.upper() for tag in _TAG.findall(mapping)) not in _STRONG


def weak_mapping(found: ExplicitMapping, audience: Audience) -> Finding | None:
    """ESC14: a certificate with the same names, from any trusted CA, logs on as this account."""
    if not is_weak(found.mapping):
        return None
    return Finding(
        "ESC14",
        Severity.HIGH if audience.is_administrator(found.sid) else Severity.MEDIUM,
        found.dn,
        f"Whoever gets a certificate with these names logs on as {found.account}.",
        (),
        (f"altSecurityIdentities={found.mapping}", "it names no single certificate"),
        f"Replace it by issuer and serial number (X509:<I>...<SR>...) of the certificate that {found.account} has.",
        frozenset({found.sid}),
    )


def mappable_account(found: ProtectedAccount, audience: Audience) -> Finding | None:
    """ESC14: others may give an administrator's account a mapping to a certificate of their own."""
    writers = audience.outsiders(_writers(found.security))
    grants = grants_to_write(found.security, writers, _MAPS)
    if not grants or not audience.is_administrator(found.sid):  # adminCount stays when somebody is none any more
        return None
    who = frozenset(grant.sid for grant in grants)
    shown = ", ".join(sorted(map(audience.named, who)))
    return Finding(
        "ESC14",
        Severity.HIGH,
        found.dn,
        f"{shown} may map a certificate of their own to {found.account}, and log on as it.",
        named(grants, audience.named),
        ("the account is an administrator's", "others may write altSecurityIdentities"),
        f"Take these rights from {shown} on the account (and on AdminSDHolder, if they come back within an hour).",
        who,
    )


def directory_findings(
    objects: Iterable[PkiObject],
    controllers: Iterable[ControllerFacts],
    mappings: Iterable[ExplicitMapping],
    protected: Iterable[ProtectedAccount],
    audience: Audience,
) -> Iterator[Finding]:
    """Everything that is open around the CAs."""
    for each in objects:
        if (finding := writable_object(each, audience)) is not None:
            yield finding
    for controller in controllers:
        if (finding := weak_controller(controller)) is not None:
            yield finding
    for mapping in mappings:
        if (finding := weak_mapping(mapping, audience)) is not None:
            yield finding
    for account in protected:
        if (finding := mappable_account(account, audience)) is not None:
            yield finding
