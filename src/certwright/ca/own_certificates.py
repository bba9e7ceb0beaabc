"""Certificates of CAs: what they say, who signs them, and their rows in the request table. [MS-WCCE] 3.2.1.1.

Shared by everything that makes one: `installation` (new CAs), `renewal`, `request_files` (CAs that another one signs
by way of a file). A CA certificate is recorded twice: as issued in the table of the CA that signed it, where it can
be revoked, and as a CA certificate in the table of the CA it belongs to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwright.adcs.errors import AdcsError, ConfigurationError, HResult
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.request import RequestFlags
from certwright.adcs.requester import Requester
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import (
    CaCertificateRecord,
    CaDatabase,
    CaRecord,
    CaTransaction,
    CertificateRecord,
    RequestRecord,
    RequestState,
)
from certwright.ca.issuance.preparing import whole_seconds
from certwright.ca.issuance.signing import CaSigner, CertificateFacts, new_serial_number
from certwright.ca.policy.base import CertificateSpec, SpecExtension
from certwright.keystores.base import KeyStore, KeyUnavailable, SigningKey
from certwright.pki import names, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import basic_constraints, ca_version, key_usage, previous_ca_hash, template_name
from certwright.pki.public_keys import PublicKeyInfo, parse_public_key

SUBORDINATE_TEMPLATE: Final = "SubCA"
CROSS_TEMPLATE: Final = "CrossCA"
_CA_KEY_USAGE: Final = b"\x86"  # digitalSignature, keyCertSign, cRLSign: what AD CS gives its CAs


@dataclass(frozen=True, slots=True)
class CaTerms:
    """What one CA certificate is to say of its CA."""

    subject: bytes  # Name, DER
    not_after: datetime
    path_length: int | None = None  # how many CAs may stand below it in a chain; None for no limit
    certificate_index: int = 0
    key_index: int = 0
    previous: bytes = b""  # the CA's certificate before this one, DER
    template: str = ""

    def extensions(self) -> tuple[SpecExtension, ...]:
        """Basic constraints and key usage are critical, RFC 5280 4.2.1.3 and 4.2.1.9; the rest is Microsoft's.

        [MS-WCCE] 3.2.1.4.3.2.39 for the version; a renewed certificate names its predecessor by its SHA-1.
        """
        made = [
            SpecExtension(oids.KEY_USAGE, True, key_usage(_CA_KEY_USAGE)),
            SpecExtension(oids.BASIC_CONSTRAINTS, True, basic_constraints(True, self.path_length)),
            SpecExtension(oids.CA_VERSION, False, ca_version(self.certificate_index, self.key_index)),
        ]
        if self.previous:
            thumbprint = hashlib.sha1(self.previous, usedforsecurity=False).digest()
            made.append(SpecExtension(oids.PREVIOUS_CA_HASH, False, previous_ca_hash(thumbprint)))
        if self.template:
            made.append(SpecExtension(oids.CERTIFICATE_TEMPLATE_NAME, False, template_name(self.template)))
        return tuple(made)

    def specification(self, now: datetime, skew: timedelta, before: datetime | None = None) -> CertificateSpec:
        """As the engine takes it; `before` is the end of the CA above, which no CA outlives."""
        return CertificateSpec(
            subject=self.subject,
            subject_alternative_names=(),
            not_before=whole_seconds(now - skew),
            not_after=whole_seconds(self.not_after if before is None else min(self.not_after, before)),
            template=None,
            extensions=self.extensions(),
        )


def checked_subject(ca: CaRecord, subject: bytes = b"") -> bytes:
    """The CA's Name: the one given, or its common name alone.

    Raises:
        ConfigurationError: it cannot be certified, or does not end in the CA's name.
    """
    subject = subject or names.name_of((oids.COMMON_NAME, ca.name))
    broken = names.broken_upper_bound(subject)
    if broken is not None:
        raise ConfigurationError(f"the name of the CA {ca.name} cannot be certified: {broken}")
    if names.common_name(subject) != ca.name:
        raise ConfigurationError(f"the subject {names.format_name(subject)} does not end in CN={ca.name}")
    return subject


def request_of(key: SigningKey, terms: CaTerms) -> bytes:
    """The PKCS#10 for a CA's own certificate, with what the certificate shall say. RFC 2986, RFC 2985 5.4.2."""
    distinguished = x509.Name(
        [
            x509.NameAttribute(x509.ObjectIdentifier(attribute.oid), attribute.value)
            for attribute in names.attributes(terms.subject)
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(distinguished)
    for each in terms.extensions():
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(each.oid), each.value)
        builder = builder.add_extension(value, each.critical)
    return builder.sign(key.private_key, hashes.SHA256()).public_bytes(Encoding.DER)


def public_key_of(key: SigningKey) -> PublicKeyInfo:
    return parse_public_key(key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def newest_of(ca: CaRecord) -> CaCertificateRecord:
    """The certificate that a CA signs with now.

    Raises:
        ConfigurationError: it has none yet.
    """
    if not ca.certificates:
        raise ConfigurationError(
            f"the CA {ca.name} has no certificate yet: install it first", HResult.CERTSRV_E_INVALID_CA_CERTIFICATE
        )
    return max(ca.certificates, key=lambda certificate: certificate.index)


def signer_of(database: CaDatabase, keys: KeyStore, certificate: CaCertificateRecord | None = None) -> CaSigner:
    """What signs under a CA's newest certificate, or under one of its earlier ones.

    Raises:
        ConfigurationError: the CA has no certificate yet.
        KeyUnavailable: its key is offline.
    """
    ca = database.ca()
    certificate = certificate or newest_of(ca)
    urls = CaConfiguration.load(ca.settings).issuance_urls(ca, certificate)
    return CaSigner(certificate.der, certificate.index, certificate.key_index, keys.open(certificate.key_name), urls)


def skew_of(ca: CaRecord) -> timedelta:
    return CaConfiguration.load(ca.settings).clock_skew


def discard_key(database: CaDatabase, keys: KeyStore, name: str) -> None:
    """Destroy a key that was made for a certificate which did not come about.

    A commit whose outcome is unknown may have happened: the key goes only when the CA's row can be read and does not
    name it.
    """
    try:
        ca = database.ca()
        waiting = database.certificate_request()
    except AdcsError:
        return
    used = {certificate.key_name for certificate in ca.certificates} | ({waiting.key_name} if waiting else set())
    if name not in used:
        try:
            keys.delete(name)
        except KeyUnavailable:
            return


# -- signing ---------------------------------------------------------------------------------------------------------


def refuse_path_length(signer: CaSigner, path_length: int | None) -> None:
    """No CA where the one above allows none. RFC 5280 4.2.1.9.

    Raises:
        ConfigurationError: the signer may not certify CAs, or not one with this path length.
    """
    limit = signer.issuing_certificate.path_length
    if limit is not None and (limit == 0 or path_length is None or path_length >= limit):
        raise ConfigurationError(
            f"{signer.certificate.subject_name} has path length {limit}: a CA below it must have a smaller one"
        )


def certify(
    transaction: CaTransaction,
    signer: CaSigner,
    spec: CertificateSpec,
    public_key: PublicKeyInfo,
    request: bytes,
    actor: Requester,
    now: datetime,
    template: str = SUBORDINATE_TEMPLATE,
) -> bytes:
    """Issue a CA's certificate under `signer`, with its row and its events in the signing CA's table."""
    prepared = signer.prepare(spec, public_key, new_serial_number())
    request_id = transaction.next_request_id()
    row = _row(prepared.facts, RequestState.ISSUED, public_key, actor, now)
    row = row._replace(request_id=request_id, template=template)
    certificate = signer.redeem(prepared)
    columns = _columns(prepared.facts, certificate, signer.certificate_index, signer.key_index)
    transaction.add_request(row, request)
    transaction.add_certificate(request_id, columns, certificate)
    for event in (AuditEvent.REQUEST_RECEIVED, AuditEvent.CERTIFICATE_ISSUED):
        details: dict[str, str | int] = {
            "request_id": request_id,
            "requester": actor.account,
            "template": template,
            "subject": row.subject,
        }
        if event is AuditEvent.CERTIFICATE_ISSUED:
            details["serial_number"] = columns.serial_number
        transaction.audit(CaEvent(event, now, transaction.ca().name, actor.account, details))
    return certificate


# -- rows ------------------------------------------------------------------------------------------------------------


def record_own(
    transaction: CaTransaction,
    record: CaCertificateRecord,
    request: bytes,
    actor: Requester,
    now: datetime,
    event: AuditEvent = AuditEvent.CA_INSTALLED,
) -> None:
    """Give a CA one more certificate, with its row and its event in the CA's own table.

    DB_DISP_CA_CERT for a self-signed one, ..._CHAIN for others.
    """
    transaction.add_ca_certificate(record)
    view = CertificateView.parse(record.der)
    facts = CertificateFacts(
        serial_number=view.serial_number,
        subject=view.subject_name,
        common_name=view.common_name,
        alternative_names="",
        not_before=view.not_before,
        not_after=view.not_after,
        subject_key_identifier=(view.subject_key_identifier or b"").hex(),
    )
    state = RequestState.CA_CERTIFICATE if view.is_self_issued else RequestState.CA_CERTIFICATE_CHAIN
    request_id = transaction.next_request_id()
    row = _row(facts, state, view.public_key, actor, now)._replace(request_id=request_id)
    transaction.add_request(row, request)
    transaction.add_certificate(request_id, _columns(facts, record.der, record.index, record.key_index), record.der)
    ca = transaction.ca()
    details: dict[str, str | int] = {
        "type": ca.ca_type.name.lower().replace("_", " "),
        "subject": view.subject_name,
        "issuer": view.issuer_name,
        "serial_number": view.serial_number,
        "sha256": view.sha256,
        "key": record.key_name,
        "not_after": view.not_after.isoformat(),
    }
    if record.index:
        details["version"] = f"{record.index}.{record.key_index}"
    transaction.audit(CaEvent(event, now, ca.name, actor.account, details))


def own_record(
    certificate: bytes,
    key_name: str,
    *,
    index: int = 0,
    key_index: int = 0,
    chain: tuple[bytes, ...] = (),
    crosses: tuple[bytes, ...] = (),
) -> CaCertificateRecord:
    view = CertificateView.parse(certificate)
    times = view.not_before, view.not_after
    return CaCertificateRecord(index, key_index, certificate, key_name, *times, chain, crosses)


def _row(
    facts: CertificateFacts, state: RequestState, public_key: PublicKeyInfo, actor: Requester, now: datetime
) -> RequestRecord:
    return RequestRecord(
        request_id=0,
        state=state,
        status=HResult.S_OK,
        message="Issued" if state is RequestState.ISSUED else "Installed",
        submitted_when=now,
        resolved_when=now,
        requester_name=actor.account,
        requester_sid=actor.sid,
        caller_name=actor.account,
        caller_sid=actor.sid,
        caller_method=actor.method.value,
        request_type=int(RequestFlags.PKCS10),
        request_flags=0,
        attributes="",
        template="" if state is RequestState.CA_CERTIFICATE else SUBORDINATE_TEMPLATE,
        subject=facts.subject,
        common_name=facts.common_name,
        alternative_names=facts.alternative_names,
        key_algorithm=public_key.kind_name,
        key_size=public_key.bits,
        officer=actor.account,
    )


def _columns(facts: CertificateFacts, certificate: bytes, index: int, key_index: int) -> CertificateRecord:
    return CertificateRecord(
        serial_number=facts.serial_number,
        not_before=facts.not_before,
        not_after=facts.not_after,
        subject_key_identifier=facts.subject_key_identifier,
        sha1=hashlib.sha1(certificate, usedforsecurity=False).hexdigest(),
        ca_certificate_index=index,
        ca_key_index=key_index,
    )
