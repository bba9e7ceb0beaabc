"""The tabs of a template and their fields, in the order and the words of Windows' own screen (certtmpl).

A field is a setting of `adcs.template_settings` with its words. Nothing is read or stored here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_checks import uses_key_policy
from certwright.pki import oids

Condition = Callable[[CertificateTemplate], bool]


class Kind(Enum):
    SWITCH = "one box"
    TEXT = "one line"
    CHOICE = "a list to choose one of"
    RADIO = "buttons to choose one of"
    MANY = "boxes to tick"
    OIDS = "boxes to tick, and a line for others"
    LINES = "one entry a line"
    FORMAT = "a list to choose one of, and a box"


@dataclass(frozen=True, slots=True)
class Field:
    """One setting on a tab."""

    key: str  # of the setting
    label: Any
    kind: Kind = Kind.SWITCH
    hint: Any = ""
    words: Sequence[tuple[str, Any]] = ()  # values with what they are called
    needs: int = 1  # schema version from which the option exists
    heading: Any = ""  # stands above it
    offered: Condition | None = None  # else it is drawn, but cannot be changed
    shown: Condition | None = None  # else it is not drawn
    redraws: bool = False  # what other fields offer depends on it
    empty: str = ""  # what the setting calls no value at all

    def is_open(self, template: CertificateTemplate) -> bool:
        """May it be changed in this template?"""
        return template.schema_version >= self.needs and (self.offered is None or self.offered(template))

    def is_shown(self, template: CertificateTemplate) -> bool:
        return self.shown is None or self.shown(template)


@dataclass(frozen=True, slots=True)
class Tab:
    key: str  # in the URL
    label: Any
    fields: tuple[Field, ...] = ()
    attributes: tuple[str, ...] = ()  # what it changes in the directory


def _from_directory(template: CertificateTemplate) -> bool:
    return not template.enrollee_supplies_subject


def _supplied(template: CertificateTemplate) -> bool:
    return template.enrollee_supplies_subject


def _is_ca(template: CertificateTemplate) -> bool:
    return template.is_ca


def _is_end_entity(template: CertificateTemplate) -> bool:
    return not template.is_ca


def _pins_keys(template: CertificateTemplate) -> bool:
    return uses_key_policy(template)


def _has_separate_policies(template: CertificateTemplate) -> bool:
    return template.application_policies not in ((), template.extended_key_usage)


def _signs(template: CertificateTemplate) -> bool:
    return template.ra_signatures > 0


GENERATIONS: Final = (
    ("2003", lazy("Windows Server 2003")),
    ("2008", lazy("Windows Server 2008")),
    ("2008r2", lazy("Windows Server 2008 R2")),
    ("2012", lazy("Windows Server 2012")),
    ("2012r2", lazy("Windows Server 2012 R2")),
    ("2016", lazy("Windows Server 2016")),
)
CLIENTS: Final = (
    ("2003", lazy("Windows XP / Server 2003")),
    ("2008", lazy("Windows Vista / Server 2008")),
    ("2008r2", lazy("Windows 7 / Server 2008 R2")),
    ("2012", lazy("Windows 8 / Server 2012")),
    ("2012r2", lazy("Windows 8.1 / Server 2012 R2")),
    ("2016", lazy("Windows 10 / Server 2016")),
)
USAGES: Final = tuple(
    (oid, oids.name_of(oid))
    for oid in (
        oids.EKU_CLIENT_AUTH,
        oids.EKU_SERVER_AUTH,
        oids.EKU_EMAIL_PROTECTION,
        oids.EKU_CODE_SIGNING,
        oids.EKU_DOCUMENT_SIGNING,
        oids.EKU_EFS,
        oids.EKU_SMART_CARD_LOGON,
        oids.EKU_REMOTE_DESKTOP,
        oids.EKU_IPSEC_IKE,
        oids.EKU_KDC_AUTHENTICATION,
        oids.EKU_OCSP_SIGNING,
        oids.EKU_TIME_STAMPING,
        oids.EKU_ENROLLMENT_AGENT,
        oids.EKU_ANY,
    )
)
KEY_USAGES: Final = (
    ("digitalSignature", lazy("Digital signature")),
    ("nonRepudiation", lazy("Signature is proof of origin (nonrepudiation)")),
    ("keyCertSign", lazy("Certificate signing")),
    ("cRLSign", lazy("CRL signing")),
    ("keyEncipherment", lazy("Allow key exchange only with key encryption (key encipherment)")),
    ("dataEncipherment", lazy("Allow encryption of user data")),
    ("keyAgreement", lazy("Allow key exchange without key encryption (key agreement)")),
)
CRITICAL: Final = tuple(
    (oid, oids.name_of(oid))
    for oid in (
        oids.KEY_USAGE,
        oids.EXTENDED_KEY_USAGE,
        oids.APPLICATION_POLICIES,
        oids.BASIC_CONSTRAINTS,
        oids.CERTIFICATE_POLICIES,
    )
)

GENERAL: Final = Tab(
    "general",
    lazy("General"),
    (
        Field("display-name", lazy("Template display name"), Kind.TEXT),
        Field(
            "machine",
            lazy("Subject type"),
            Kind.CHOICE,
            words=(("off", lazy("User")), ("on", lazy("Computer"))),
            redraws=True,
        ),
        Field(
            "validity-period", lazy("Validity period"), Kind.TEXT, lazy("Such as 2 years, 6 weeks, 90 days, 8 hours.")
        ),
        Field(
            "renewal-period",
            lazy("Renewal period"),
            Kind.TEXT,
            lazy("How long before its end a certificate is renewed."),
        ),
        Field("publish-to-directory", lazy("Publish certificate in Active Directory")),
        Field(
            "check-directory",
            lazy("Do not automatically reenroll if a duplicate certificate exists in Active Directory"),
            needs=2,
        ),
    ),
    (
        "displayName",
        "flags",
        "pKIExpirationPeriod",
        "pKIOverlapPeriod",
        "msPKI-Enrollment-Flag",
        "msPKI-Cert-Template-OID",
    ),
)
COMPATIBILITY: Final = Tab(
    "compatibility",
    lazy("Compatibility"),
    (
        Field("minimum-ca", lazy("Certification Authority"), Kind.CHOICE, words=GENERATIONS, redraws=True),
        Field("minimum-client", lazy("Certificate recipient"), Kind.CHOICE, words=CLIENTS, redraws=True),
    ),
    ("msPKI-Template-Schema-Version", "msPKI-Private-Key-Flag"),
)
HANDLING: Final = Tab(
    "handling",
    lazy("Request Handling"),
    (
        Field(
            "purpose",
            lazy("Purpose"),
            Kind.CHOICE,
            lazy("Sets key usage and key specification together."),
            words=(
                ("signature-and-encryption", lazy("Signature and encryption")),
                ("signature", lazy("Signature")),
                ("encryption", lazy("Encryption")),
            ),
            redraws=True,
        ),
        Field("remove-invalid", lazy("Delete revoked or expired certificates (do not archive)"), needs=2),
        Field("smime-capabilities", lazy("Include symmetric algorithms allowed by the subject")),
        Field(
            "archive-key",
            lazy("Archive subject's encryption private key"),
            hint=lazy("This CA archives no keys yet: it refuses every request while this is ticked."),
            needs=2,
        ),
        Field("exportable-key", lazy("Allow private key to be exported")),
        Field("same-key-renewal", lazy("Renew with the same key"), needs=4),
        Field(
            "key-reuse",
            lazy("For renewal of smart card certificates, use the existing key if a new key cannot be created"),
            needs=2,
        ),
        Field(
            "autoenrollment",
            lazy("Let clients enroll by themselves (autoenrollment)"),
            needs=2,
            heading=lazy("Do the following when the subject is enrolled"),
        ),
        Field("user-interaction", lazy("Prompt the user during enrollment"), needs=2),
        Field("strong-key-protection", lazy("Require user input when the private key is used")),
    ),
    ("pKIKeyUsage", "pKIDefaultKeySpec", "msPKI-Enrollment-Flag", "msPKI-Private-Key-Flag"),
)
CRYPTOGRAPHY: Final = Tab(
    "cryptography",
    lazy("Cryptography"),
    (
        Field(
            "legacy-provider",
            lazy("Provider category"),
            Kind.CHOICE,
            words=(
                ("off", lazy("Key Storage Provider")),
                ("on", lazy("Legacy Cryptographic Service Provider")),
            ),
            needs=4,
            redraws=True,
        ),
        Field(
            "key-algorithm",
            lazy("Algorithm name"),
            Kind.CHOICE,
            lazy("A request with a key of another algorithm is denied."),
            words=(
                ("any", lazy("Determined by the client")),
                ("rsa", "RSA"),
                ("ecdsa-p256", "ECDSA_P256"),
                ("ecdsa-p384", "ECDSA_P384"),
                ("ecdsa-p521", "ECDSA_P521"),
            ),
            needs=3,
            offered=_pins_keys,
        ),
        Field(
            "minimal-key-size",
            lazy("Minimum key size"),
            Kind.TEXT,
            lazy("In bits. A request with a shorter key is denied."),
        ),
        Field(
            "providers",
            lazy("Providers"),
            Kind.LINES,
            lazy("What clients may make the key with, one a line, the preferred one first; none means any."),
        ),
        Field(
            "hash-algorithm",
            lazy("Request hash"),
            Kind.CHOICE,
            words=(
                ("any", lazy("Determined by the client")),
                ("sha256", "SHA256"),
                ("sha384", "SHA384"),
                ("sha512", "SHA512"),
            ),
            needs=3,
            offered=_pins_keys,
        ),
        Field("alternate-signature", lazy("Use alternate signature format"), needs=3),
    ),
    ("msPKI-Minimal-Key-Size", "pKIDefaultCSPs", "msPKI-RA-Application-Policies", "msPKI-Private-Key-Flag"),
)
ATTESTATION: Final = Tab(
    "attestation",
    lazy("Key Attestation"),
    (
        Field(
            "key-attestation",
            lazy("Key attestation"),
            Kind.RADIO,
            lazy("This CA checks no attestations yet: while it is required, every request is denied."),
            words=(
                ("off", lazy("None")),
                ("preferred", lazy("Required, if client is capable")),
                ("required", lazy("Required")),
            ),
            needs=4,
        ),
        Field(
            "attestation-trust",
            lazy("Perform attestation based on"),
            Kind.MANY,
            words=(
                ("user-credentials", lazy("User credentials")),
                ("hardware-certificate", lazy("Hardware certificate")),
                ("hardware-key", lazy("Hardware key")),
            ),
            empty="none",
            needs=4,
        ),
        Field("attestation-policies", lazy("Include issuance policies for enforced attestation types"), needs=4),
    ),
    ("msPKI-Private-Key-Flag",),
)
SUBJECT: Final = Tab(
    "subject",
    lazy("Subject Name"),
    (
        Field(
            "enrollee-supplies-subject",
            lazy("Where the subject comes from"),
            Kind.RADIO,
            words=(
                ("on", lazy("Supply in the request")),
                ("off", lazy("Build from this Active Directory information")),
            ),
            redraws=True,
        ),
        Field(
            "names-from-old-certificate",
            lazy("Use subject information from existing certificates for autoenrollment renewal requests"),
            needs=2,
            offered=_supplied,
        ),
        Field(
            "subject",
            lazy("Subject name format"),
            Kind.FORMAT,
            words=(
                ("directory-path", lazy("Fully distinguished name")),
                ("common-name", lazy("Common name")),
                ("dns-name", lazy("DNS name")),
                ("none", lazy("None")),
                ("email", lazy("Include e-mail name in subject name")),
            ),
            offered=_from_directory,
        ),
        Field(
            "alternative-names",
            lazy("Include this information in alternate subject name"),
            Kind.MANY,
            words=(
                ("email", lazy("E-mail name")),
                ("dns", lazy("DNS name")),
                ("upn", lazy("User principal name (UPN)")),
                ("spn", lazy("Service principal name (SPN)")),
                ("domain-dns", lazy("Names of the domain (for domain controllers)")),
                ("guid", lazy("Directory GUID")),
            ),
            empty="none",
            offered=_from_directory,
        ),
        Field(
            "sid-extension",
            lazy("Put the account's SID into the certificate"),
            hint=lazy("Only where names come from the directory. Domain controllers ask for it at a logon."),
            offered=_from_directory,
        ),
    ),
    ("msPKI-Certificate-Name-Flag", "msPKI-Enrollment-Flag"),
)
NAMES: Final = Tab("names", lazy("Name Rules"), attributes=("nameRules",))
ISSUANCE: Final = Tab(
    "issuance",
    lazy("Issuance Requirements"),
    (
        Field("approval", lazy("CA certificate manager approval")),
        Field(
            "signatures",
            lazy("This number of authorized signatures"),
            Kind.TEXT,
            lazy("0 to 16. A request that brings fewer is denied."),
            needs=2,
            redraws=True,
        ),
        Field(
            "signature-application-policies",
            lazy("Application policies that signers' certificates carry"),
            Kind.OIDS,
            words=((oids.EKU_ENROLLMENT_AGENT, oids.name_of(oids.EKU_ENROLLMENT_AGENT)),),
            needs=2,
            offered=_signs,
        ),
        Field(
            "signature-issuance-policies",
            lazy("Issuance policies that signers' certificates carry"),
            Kind.LINES,
            lazy("OIDs, one a line."),
            needs=2,
            offered=_signs,
        ),
        Field(
            "renewal-without-approval",
            lazy("Valid existing certificate is enough"),
            needs=2,
            heading=lazy("Require the following for reenrollment"),
            hint=lazy("Otherwise the same criteria as for enrollment."),
        ),
        Field("key-based-renewal", lazy("Allow key based renewal"), needs=4, offered=_supplied),
    ),
    ("msPKI-Enrollment-Flag", "msPKI-RA-Signature", "msPKI-RA-Application-Policies", "msPKI-RA-Policies"),
)
SUPERSEDED: Final = Tab(
    "superseded",
    lazy("Superseded Templates"),
    (
        Field(
            "superseded-templates",
            lazy("Certificates of these templates are replaced by one of this template"),
            Kind.MANY,
            needs=2,
        ),
    ),
    ("msPKI-Supersede-Templates",),
)
EXTENSIONS: Final = Tab(
    "extensions",
    lazy("Extensions"),
    (
        Field(
            "eku",
            lazy("Application policies (enhanced key usage)"),
            Kind.OIDS,
            lazy("None at all means any purpose."),
            words=USAGES,
        ),
        Field(
            "application-policies",
            lazy("Application policies extension, where it says something else"),
            Kind.LINES,
            lazy("OIDs, one a line."),
            needs=2,
            shown=_has_separate_policies,
        ),
        Field(
            "basic-constraints",
            lazy("Basic constraints: say that the subject is no CA"),
            shown=_is_end_entity,
        ),
        Field(
            "path-length",
            lazy("Basic constraints: how many CAs may stand below"),
            Kind.TEXT,
            lazy("A number, or any."),
            shown=_is_ca,
        ),
        Field("issuance-policies", lazy("Issuance policies"), Kind.LINES, lazy("OIDs, one a line.")),
        Field(
            "issuance-policies-from-request",
            lazy("Of these only the ones that the request asks for"),
            needs=4,
        ),
        Field("key-usage", lazy("Key usage"), Kind.MANY, words=KEY_USAGES),
        Field("critical-extensions", lazy("Make this extension critical"), Kind.OIDS, words=CRITICAL),
        Field(
            "ocsp-nocheck",
            lazy("Do not check OCSP signing certificates for revocation"),
            hint=lazy("Only for templates with the purpose OCSP Signing."),
        ),
    ),
    (
        "pKIExtendedKeyUsage",
        "msPKI-Certificate-Application-Policy",
        "msPKI-Certificate-Policy",
        "pKIKeyUsage",
        "pKICriticalExtensions",
        "pKIMaxIssuingDepth",
        "msPKI-Enrollment-Flag",
    ),
)
SECURITY: Final = Tab("security", lazy("Security"), attributes=("nTSecurityDescriptor",))
SERVER: Final = Tab(
    "server",
    lazy("Server"),
    (
        Field(
            "revocation-information",
            lazy("Include revocation information in issued certificates"),
            hint=lazy("Unticked, certificates name neither a CRL nor a responder, and nobody can check them."),
        ),
    ),
    ("msPKI-Enrollment-Flag",),
)

TABS: Final[Mapping[str, Tab]] = {
    tab.key: tab
    for tab in (
        GENERAL,
        COMPATIBILITY,
        HANDLING,
        CRYPTOGRAPHY,
        ATTESTATION,
        SUBJECT,
        NAMES,
        ISSUANCE,
        SUPERSEDED,
        EXTENSIONS,
        SECURITY,
        SERVER,
    )
}

OUTSIDE: Final = (("pend", lazy("wait for a certificate manager")), ("deny", lazy("are denied")))
"""What becomes of requests with a name outside the rules."""


def all_fields() -> Iterator[Field]:
    """Every field, in an order in which they can be applied: what others depend on comes first."""
    first = ("minimum-ca", "minimum-client", "machine", "legacy-provider", "purpose")
    every = {field.key: field for tab in TABS.values() for field in tab.fields}
    yield from (every[key] for key in first)
    yield from (field for key, field in every.items() if key not in first)
