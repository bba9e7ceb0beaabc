"""What is dangerous about a CA itself: roles, doors, switches. ESC6, 7, 8, 11, 12, 16; of a standalone CA also 17."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from certwright.adcs.requester import Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.directory.security_audit.audience import Audience
from certwright.directory.security_audit.entries import grants_on_ca, named
from certwright.directory.security_audit.facts import AuthorityFacts, WebEndpoint
from certwright.directory.security_audit.findings import Finding, Severity, worst_first

KNOWN_RISKS: Final = ("ESC7", "ESC8", "ESC17")
"""What settings of a CA of ours can open."""

_ROLES: Final = CaAccess.ADMINISTRATOR | CaAccess.OFFICER


def authority_findings(facts: AuthorityFacts, audience: Audience) -> tuple[Finding, ...]:
    """The escalations that one CA's own settings open, worst first."""
    found = [
        finding.as_accepted() if finding.number in facts.accepted else finding
        for rule in _RULES
        for finding in rule(facts, audience)
    ]
    return worst_first(found)


def _names_from_attributes(facts: AuthorityFacts, audience: Audience) -> Iterable[Finding]:
    """ESC6: whoever requests adds the alternative names of anybody to any logon certificate."""
    del audience
    if facts.takes_names_from_attributes:
        yield _of(
            facts,
            "ESC6",
            Severity.HIGH,
            "Whoever may enroll for a logon certificate may have anybody's name in it.",
            ("EDITF_ATTRIBUTESUBJECTALTNAME2 is set", "the attribute SAN of a request becomes a name"),
            r"On the CA: certutil -setreg policy\EditFlags -EDITF_ATTRIBUTESUBJECTALTNAME2, and restart certsvc.",
        )


def _roles_for_everybody(facts: AuthorityFacts, audience: Audience) -> Iterable[Finding]:
    """ESC7: everybody administers the CA, or issues what waits.

    A role is given to people, so only a group that means everybody is wrong here; who is in a group of a few is for
    those to know who made it.
    """
    if facts.security is None:
        return
    holders = facts.security.sids_with(int(CaAccess.ADMINISTRATOR)) | facts.security.sids_with(int(CaAccess.OFFICER))
    wrong = frozenset(sid for sid in holders - audience.privileged if audience.means_everybody(sid))
    if not wrong:
        return
    grants = named(grants_on_ca(facts.security, wrong, _ROLES), audience.named)
    who = ", ".join(sorted(map(audience.named, wrong)))
    yield Finding(
        "ESC7",
        Severity.HIGH,
        f"CA {facts.name}",
        f"{who} may change the CA's settings or issue what waits for approval.",
        grants,
        ("roles on the CA are held by a group that everybody is in",),
        _take_roles(facts, facts.security, wrong, audience),
        wrong,
    )


def _take_roles(
    facts: AuthorityFacts, security: SecurityDescriptor, wrong: frozenset[Sid], audience: Audience
) -> str:
    direct = wrong & audience.everybody
    who = ", ".join(sorted(map(audience.named, direct or wrong)))
    if not direct:
        return f"Take the groups that everybody is in out of {who}."
    if not facts.ours:
        return (
            f"certsrv.msc, {facts.name}, Properties, Security: take Manage CA and Issue and Manage Certificates"
            f" from {who}."
        )
    for sid in direct:
        security = security.revoke_access(int(_ROLES), sid)
    return f"certwright ca set security-descriptor='{security.to_sddl()}' --ca '{facts.name}'"


def _relayed_logons(facts: AuthorityFacts, audience: Audience) -> Iterable[Finding]:
    """ESC8: a logon meant for somebody else is passed on to web enrollment."""
    del audience
    for endpoint in facts.endpoints or ():
        finding = _relayed(facts, endpoint)
        if finding is not None:
            yield finding


def _relayed(facts: AuthorityFacts, endpoint: WebEndpoint) -> Finding | None:
    if not endpoint.relayable:
        return None
    offered = " and ".join(endpoint.relayable)
    plain = endpoint.url.lower().startswith("http:")
    if plain:
        severity, condition = Severity.HIGH, "it answers over plain HTTP, where nothing binds a logon to its server"
    elif endpoint.channel_binding == "off":
        severity, condition = Severity.HIGH, "channel binding is off, so a logon is good on any connection"
    elif endpoint.channel_binding == "allow":
        severity, condition = Severity.MEDIUM, "channel binding may be left out (allow)"
    else:
        return None
    return _of(
        facts,
        "ESC8",
        severity,
        "Whoever makes a machine or a person log on to him may pass the logon on and get a certificate in that name.",
        (f"{endpoint.url} offers {offered}", condition),
        f"Require the binding: certwright ca set channel-binding=require --ca '{facts.name}'."
        if facts.ours
        else "Remove the HTTP binding of the site."
        if plain
        else "IIS Manager, Windows Authentication, Advanced Settings: set Extended Protection to Required.",
    )


def _rpc_in_clear(facts: AuthorityFacts, audience: Audience) -> Iterable[Finding]:
    """ESC11: the same over RPC, where the CA takes calls that are not encrypted. [MS-ICPR] 3.2.4.1.1."""
    del audience
    if facts.encrypts_rpc is False:
        yield _of(
            facts,
            "ESC11",
            Severity.HIGH,
            "Whoever makes a machine or a person log on to him may pass the logon on over RPC and get a certificate.",
            ("IF_ENFORCEENCRYPTICERTREQUEST is not set",),
            r"On the CA: certutil -setreg CA\InterfaceFlags +IF_ENFORCEENCRYPTICERTREQUEST, and restart certsvc.",
        )


def _key_in_reach(facts: AuthorityFacts, audience: Audience) -> Iterable[Finding]:
    """ESC12: a shell on the CA is enough to sign with its key."""
    del audience
    if facts.key_secret_in_clear:
        yield _of(
            facts,
            "ESC12",
            Severity.MEDIUM,
            "Whoever has a shell on the CA may sign certificates with its key.",
            ("what opens the CA's key lies there in clear",),
            "Remove the key store's password from the CA's registry; let administrators alone log on to the CA.",
        )


def _without_sid(facts: AuthorityFacts, audience: Audience) -> Iterable[Finding]:
    """ESC16: no certificate of the CA says whose account it was made for."""
    del audience
    if facts.omits_sid:
        yield _of(
            facts,
            "ESC16",
            Severity.HIGH,
            "No certificate of this CA carries the SID of its account, so each could be used for another one.",
            ("DisableExtensionList contains 1.3.6.1.4.1.311.25.2",),
            r"On the CA: certutil -setreg policy\DisableExtensionList -1.3.6.1.4.1.311.25.2, and restart certsvc.",
        )


def _issues_unseen(facts: AuthorityFacts, audience: Audience) -> Iterable[Finding]:
    """ESC17, of a standalone CA: whoever may enroll names any host, and nobody looks."""
    if not facts.issues_unseen or facts.security is None:
        return
    enrollers = audience.outsiders(facts.security.sids_with(int(CaAccess.ENROLL)))
    if not enrollers:
        return
    who = ", ".join(sorted(map(audience.named, enrollers)))
    yield Finding(
        "ESC17",
        Severity.HIGH,
        f"CA {facts.name}",
        f"{who} may name any host in a certificate for servers, and nobody looks at the request.",
        tuple(f"{audience.named(sid)}: Request Certificates" for sid in sorted(enrollers)),
        ("a standalone CA takes the names from the request", "it issues without approval"),
        f"Let a certificate manager look: certwright ca set request-disposition=pend --ca '{facts.name}'.",
        enrollers,
    )


_RULES: Final[tuple[Callable[[AuthorityFacts, Audience], Iterable[Finding]], ...]] = (
    _names_from_attributes,
    _roles_for_everybody,
    _relayed_logons,
    _rpc_in_clear,
    _key_in_reach,
    _without_sid,
    _issues_unseen,
)


def _of(
    facts: AuthorityFacts, number: str, severity: Severity, sentence: str, why: tuple[str, ...], fix: str
) -> Finding:
    return Finding(number, severity, f"CA {facts.name}", sentence, (), why, fix)


def newly_open(
    before: Iterable[Finding], after: Iterable[Finding], accepted: Iterable[str] = ()
) -> tuple[Finding, ...]:
    """What a change opens, or makes worse, and nobody accepts by its number: the gate's question."""
    known = {finding.number: finding for finding in before}
    granted = frozenset(accepted)

    def is_new(finding: Finding) -> bool:
        was = known.get(finding.number)
        return was is None or _rank(finding) < _rank(was) or not finding.principals <= was.principals

    return tuple(
        finding for finding in after if finding.needs_acceptance and finding.number not in granted and is_new(finding)
    )


def _rank(finding: Finding) -> int:
    return list(Severity).index(finding.severity)


def numbers(findings: Iterable[Finding]) -> Iterator[str]:
    """Each number once."""
    return iter(dict.fromkeys(finding.number for finding in findings))
