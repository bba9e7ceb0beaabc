"""What a CA's settings would let somebody do: the gate before they are saved. ESC7, ESC8, ESC17.

The rules are those of the security audit; here are only the CA's settings in the words of these rules. The gate
judges the permission itself and looks into no group: who is in it may change without asking the CA.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaRecord
from certwright.directory.security_audit.audience import Audience
from certwright.directory.security_audit.authorities import (
    KNOWN_RISKS,
    authority_findings,
    newly_open,
    numbers,
)
from certwright.directory.security_audit.facts import AuthorityFacts, WebEndpoint
from certwright.directory.security_audit.findings import RiskySettings
from certwright.pki.names import sanitized_name

OVERRIDES: Final = "overrides"
"""The setting that keeps what was overridden; only the gate writes it."""


def authority_facts(record: CaRecord, configuration: CaConfiguration, security: SecurityDescriptor) -> AuthorityFacts:
    """One of our CAs as the rules see it. There is no RPC, no SAN attribute, no way to leave out the SID.

    Nor is the secret of its keys in clear: a master key that others may read is refused when it is opened.
    """
    offered = (("NTLM", configuration.ntlm), ("Negotiate", configuration.negotiate))
    host = f"https://{configuration.dns_name or 'this host'}"
    endpoints = [
        WebEndpoint(
            f"{host}/certsrv/", tuple(name for name, is_on in offered if is_on), configuration.channel_binding
        )
    ]
    if configuration.enrollment_ntlm:
        services = f"{host}/{sanitized_name(record.name)}_CES_Kerberos/"
        endpoints.append(WebEndpoint(services, ("Negotiate", "NTLM"), configuration.channel_binding))
    return AuthorityFacts(
        name=record.name,
        ours=True,
        security=security,
        endpoints=tuple(endpoints),
        takes_names_from_attributes=False,
        encrypts_rpc=True,
        key_secret_in_clear=False,
        omits_sid=False,
        issues_unseen=not record.ca_type.is_enterprise and configuration.request_disposition == "issue",
        accepted=frozenset(configuration.overrides),
    )


def refuse_escalations(
    before: AuthorityFacts,
    after: AuthorityFacts,
    override: Collection[str],
    reason: str,
    domain_sid: Sid,
    names: Mapping[Sid, str],
) -> tuple[str, ...]:
    """The escalations that are accepted from now on.

    What was open before may stay open; it is accepted only if it was, or is now.

    Raises:
        RiskySettings: one would newly be open, or be worse, and nobody accepts it by its number.
        ConfigurationError: the override names no escalation of a CA, or gives no reason.
    """
    named = frozenset(number.strip().upper() for number in override)
    unknown = ", ".join(sorted(named - frozenset(KNOWN_RISKS)))[:80]
    if unknown:
        raise ConfigurationError(
            f"{unknown} is no escalation that a CA's settings open; there are {', '.join(KNOWN_RISKS)}"
        )
    if named and not reason.strip():
        raise ConfigurationError("an override needs its reason, for the audit trail")
    audience = Audience.embedded(domain_sid, names)
    found = authority_findings(after, audience)
    refused = newly_open(authority_findings(before, audience), found, named)
    if refused:
        said = " ".join(
            f"{each.number}: {each.sentence} It is open because {'; '.join(each.why)}. {each.fix}" for each in refused
        )
        identifiers = ", ".join(numbers(refused))
        raise RiskySettings(
            f"these settings of the CA {after.name} would be dangerous. {said} Or override the refusal by its number,"
            f" with a reason: {identifiers}",
            refused,
        )
    accepted = named | before.accepted
    return tuple(number for number in numbers(found) if number in accepted)
