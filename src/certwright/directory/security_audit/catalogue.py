"""The published escalations by number: what each is, how it is closed here, and how one looks for it elsewhere.

Sources, each read where it could be had; nothing of their code or wording is used:

- ESC1 to ESC8: W. Schroeder and L. Christensen, "Certified Pre-Owned" (SpecterOps, 2021).
- ESC9 and ESC10: O. Lyak, "Certipy 4.0" (2022).
- ESC11: S. Heiniger, "Relaying to AD Certificate Services over RPC" (Compass Security, 2022).
- ESC12: H.-J. Knobloch, "Shell access to ADCS CA with YubiHSM" (2023).
- ESC13 and ESC14: J. Bülow Knudsen (SpecterOps, 2024).
- ESC15: J. Bollinger, "EKUwu" (TrustedSec, 2024), CVE-2024-49019.
- ESC16: the SID extension disabled for a whole CA; Certipy 5, `find.py`, `get_ca_vulnerabilities`.
- ESC17: the enrollee names the host of a certificate for TLS servers. Proposed in ly4k/Certipy, pull request 344
  (January 2026), after TrustedSec, "WSUS is SUS", and DigiTrace, "Using ADCS to attack HTTPS-enabled WSUS clients".
  Certipy (`get_template_vulnerabilities`) and Locksmith (`Private/Find-ESC17.ps1`) find it under the conditions that
  are used here.

Where these tools differ: Locksmith calls every template of schema version 1 ESC15; CVE-2024-49019 takes the subject
from the request, so Certipy and the rules here ask for that too. Both report templates that enroll to any account
outside a fixed list of administrators; here it is also asked who is in a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Escalation:
    """One published escalation."""

    number: str
    title: str
    checked: str  # what is looked at
    here: str  # how a Certwright CA is kept from it
    look: str = ""  # how to look where LDAP does not show it; empty: LDAP shows it


ESCALATIONS: Final[Mapping[str, Escalation]] = MappingProxyType(
    {
        each.number: each
        for each in (
            Escalation(
                "ESC1",
                "Enrollee names the subject of a logon certificate",
                "templates: subject in the request, a usage that logs on, no approval, no signature, who may enroll",
                "such a template is refused unless name rules keep logon names out",
            ),
            Escalation(
                "ESC2",
                "Certificate for any purpose",
                "templates: any purpose, no usage at all, or a CA's certificate, without approval",
                "such a template is refused",
            ),
            Escalation(
                "ESC3",
                "Enrollment agents that nobody chose",
                "templates: who may become an enrollment agent, and where an agent's signature is accepted",
                "such a template is refused",
            ),
            Escalation(
                "ESC4",
                "Template that others may change",
                "templates: owner and every entry that writes",
                "in the embedded directory only CA administrators change templates, whatever their lists say",
            ),
            Escalation(
                "ESC5",
                "PKI objects that others may change",
                "owner and entries of the containers below Public Key Services, of NTAuthCertificates, of every CA's"
                " objects and of the CA's computer account",
                "the embedded directory has no such objects: its rows are written through the CA's roles alone",
            ),
            Escalation(
                "ESC6",
                "Names taken from the request's attributes",
                "the CA's flag EDITF_ATTRIBUTESUBJECTALTNAME2",
                "there is no such switch: the attribute SAN never reaches a certificate",
                "on the CA: certutil -getreg policy\\EditFlags; EDITF_ATTRIBUTESUBJECTALTNAME2 must not be listed",
            ),
            Escalation(
                "ESC7",
                "Roles on the CA for everybody",
                "the CA's security descriptor: who is CA administrator or certificate manager",
                "a security descriptor that gives these roles to everybody's groups is refused",
                "on the CA: certsrv.msc, Properties, Security; Manage CA and Issue and Manage Certificates are for"
                " administrators",
            ),
            Escalation(
                "ESC8",
                "Logons relayed to web enrollment",
                "web endpoints: plain HTTP, and NTLM or Negotiate without channel binding",
                "enrollment is on HTTPS only and channel binding is required; less is refused",
                "on the CA's web server: no HTTP binding for /certsrv and CES, and Extended Protection is Required",
            ),
            Escalation(
                "ESC9",
                "Logon certificate without the SID of its account",
                "templates: NO_SECURITY_EXTENSION and a usage that logs on",
                "such a template is refused",
            ),
            Escalation(
                "ESC10",
                "Domain controllers that map certificates weakly",
                "domain controllers: StrongCertificateBindingEnforcement and CertificateMappingMethods",
                "every logon certificate carries the SID of its account; what a domain controller accepts is its own"
                " setting",
                "on every domain controller: StrongCertificateBindingEnforcement is not 0 (Services\\Kdc), and"
                " CertificateMappingMethods has no 0x4 (Control\\SecurityProviders\\Schannel)",
            ),
            Escalation(
                "ESC11",
                "Logons relayed to the CA's RPC interface",
                "the CA's flag IF_ENFORCEENCRYPTICERTREQUEST",
                "there is no RPC interface",
                "on the CA: certutil -getreg CA\\InterfaceFlags; IF_ENFORCEENCRYPTICERTREQUEST must be listed",
            ),
            Escalation(
                "ESC12",
                "Key of the CA for whoever has a shell on it",
                "how the secret that opens the CA's key is kept",
                "keys are sealed by the master key, whose file is refused when others may read it",
                "on the CA: the registry must not hold the password of a YubiHSM in clear; only administrators log on"
                " to the CA",
            ),
            Escalation(
                "ESC13",
                "Issuance policy that stands for a group",
                "templates and OID objects: msPKI-Certificate-Policy with msDS-OIDToGroupLink",
                "the embedded directory links no policy to a group",
            ),
            Escalation(
                "ESC14",
                "Account with a weak explicit mapping",
                "accounts: altSecurityIdentities, and who may write it on administrators' accounts",
                "no door maps a certificate to an account by its names",
            ),
            Escalation(
                "ESC15",
                "Usages taken from the request (CVE-2024-49019)",
                "templates: schema version 1, subject in the request, no approval",
                "usages come from the template alone",
            ),
            Escalation(
                "ESC16",
                "CA that leaves the SID out of every certificate",
                "the CA's DisableExtensionList",
                "there is no such switch",
                "on the CA: certutil -getreg policy\\DisableExtensionList; 1.3.6.1.4.1.311.25.2 must not be listed",
            ),
            Escalation(
                "ESC17",
                "Enrollee names the host of a server certificate",
                "templates: subject in the request, server authentication, no approval, no signature, who may enroll",
                "such a template is refused unless it has name rules",
            ),
        )
    }
)


def number_of(text: str) -> str:
    """The number as the catalogue spells it.

    Raises:
        ValueError: there is no such escalation.
    """
    name = text.strip().upper()
    if name not in ESCALATIONS:
        raise ValueError(f"{text[:40]!r} is no escalation; there are ESC1 to ESC{len(ESCALATIONS)}")
    return name
