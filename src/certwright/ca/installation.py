"""New CAs: a self-signed root, and a subordinate that a root of this installation certifies. [MS-WCCE] 3.2.1.1.

Values in, values out: the CA's row exists already (without certificates), keys are made in the key store given, and
where files lie is nobody's business here. Every certificate made has its row in the request table of the CA that
signed it, and its CA's own table holds it as a CA certificate.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwright.adcs.errors import ConfigurationError, HResult
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
from certwright.ca.issuance.signing import CaSigner, CertificateFacts, new_serial_number, self_sign
from certwright.ca.periods import Period, Unit
from certwright.ca.policy.base import CertificateSpec, SpecExtension
from certwright.keystores.base import KeyAlgorithm, KeyStore, SigningKey
from certwright.pki import names, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import basic_constraints, ca_version, key_usage, template_name
from certwright.pki.public_keys import PublicKeyInfo, parse_public_key

ROOT_VALIDITY: Final = Period(20, Unit.YEARS)
SUBORDINATE_VALIDITY: Final = Period(10, Unit.YEARS)

_CA_KEY_USAGE: Final = b"\x86"  # digitalSignature, keyCertSign, cRLSign: what AD CS gives its CAs
_TEMPLATE: Final = "SubCA"


@dataclass(frozen=True, slots=True)
class NewCa:
    """What is to be installed."""

    key_name: str  # in the key store
    key_algorithm: KeyAlgorithm
    validity: Period
    subject: bytes = b""  # Name, DER; empty: the CA's name as its only CN
    path_length: int | None = None  # how many CAs may stand below it in a chain; None for no limit


def root(key_name: str, key_algorithm: KeyAlgorithm = KeyAlgorithm.RSA_4096, subject: bytes = b"") -> NewCa:
    """The usual root: 20 years, any number of CAs below."""
    return NewCa(key_name, key_algorithm, ROOT_VALIDITY, subject)


def issuing(key_name: str, key_algorithm: KeyAlgorithm = KeyAlgorithm.RSA_3072, subject: bytes = b"") -> NewCa:
    """The usual issuing CA: 10 years, no CA below."""
    return NewCa(key_name, key_algorithm, SUBORDINATE_VALIDITY, subject, path_length=0)


def install_root(
    database: CaDatabase, keys: KeyStore, new: NewCa, actor: Requester, now: datetime
) -> CaCertificateRecord:
    """Make a root's key and its self-signed certificate.

    Raises:
        ConfigurationError: the CA has a certificate already, or its name cannot be written into one.
        KeyExists: the key's name is taken.
    """
    ca = _vacant(database, is_root=True)
    key = keys.create(new.key_name, new.key_algorithm)
    try:
        spec = _spec(ca, new, now)
        public_key = _public_key(key)
        certificate = self_sign(key, spec, public_key, new_serial_number())
        record = _ca_certificate(certificate, key.name)
        with database.transaction() as transaction:
            _vacant_still(transaction)
            transaction.add_ca_certificate(record)
            _record(transaction, record, RequestState.CA_CERTIFICATE, _request(key, spec.subject), actor, now)
            _audit_installed(transaction, ca, record, actor, now)
    except BaseException:
        keys.delete(new.key_name)  # nothing was signed with it that anybody has seen
        raise
    return record


def install_subordinate(
    parent: CaDatabase,
    database: CaDatabase,
    keys: KeyStore,
    new: NewCa,
    actor: Requester,
    now: datetime,
) -> CaCertificateRecord:
    """Make a subordinate's key, let a CA of this installation certify it, and install the certificate.

    The parent's certificate is recorded as issued in the parent's request table, where it can be revoked.

    Raises:
        ConfigurationError: the CA has a certificate already, its parent none, or the parent may not certify CAs.
        KeyExists: the key's name is taken.
        KeyUnavailable: the parent's key is offline.
    """
    ca = _vacant(database, is_root=False)
    signer = _signer_of(parent, keys)
    key = keys.create(new.key_name, new.key_algorithm)
    try:
        request = _request(key, _subject(ca, new))
        certificate = certify_subordinate(parent, signer, ca, new, _public_key(key), request, actor, now)
    except BaseException:
        keys.delete(new.key_name)
        raise
    record = _ca_certificate(certificate, key.name)
    with database.transaction() as transaction:
        _vacant_still(transaction)
        transaction.add_ca_certificate(record)
        _record(transaction, record, RequestState.CA_CERTIFICATE_CHAIN, request, actor, now)
        _audit_installed(transaction, ca, record, actor, now)
    return record


def certify_subordinate(
    parent: CaDatabase,
    signer: CaSigner,
    ca: CaRecord,
    new: NewCa,
    public_key: PublicKeyInfo,
    request: bytes,
    actor: Requester,
    now: datetime,
) -> bytes:
    """Issue a subordinate's certificate under `signer`, with its row and its events in the parent's table.

    Raises:
        ConfigurationError: the parent may not certify CAs, or not one with this path length.
    """
    limit = signer.issuing_certificate.path_length
    if limit is not None and (limit == 0 or new.path_length is None or new.path_length >= limit):
        raise ConfigurationError(
            f"{signer.certificate.subject_name} has path length {limit}: a CA below it must have a smaller one"
        )
    spec = _spec(ca, new, now, before=signer.issuing_certificate.not_after, template=_TEMPLATE)
    with parent.transaction() as transaction:
        prepared = signer.prepare(spec, public_key, new_serial_number())
        request_id = transaction.next_request_id()
        row = _row(prepared.facts, RequestState.ISSUED, public_key, actor, now)
        certificate = signer.redeem(prepared)
        columns = _columns(prepared.facts, certificate, signer.certificate_index, signer.key_index)
        transaction.add_request(replace(row, request_id=request_id), request)
        transaction.add_certificate(request_id, columns, certificate)
        for event in (AuditEvent.REQUEST_RECEIVED, AuditEvent.CERTIFICATE_ISSUED):
            details: dict[str, str | int] = {
                "request_id": request_id,
                "requester": actor.account,
                "template": _TEMPLATE,
                "subject": row.subject,
            }
            if event is AuditEvent.CERTIFICATE_ISSUED:
                details["serial_number"] = columns.serial_number
            transaction.audit(CaEvent(event, now, transaction.ca().name, actor.account, details))
    return certificate


# -- what a CA certificate says --------------------------------------------------------------------------------------


def _spec(
    ca: CaRecord, new: NewCa, now: datetime, *, before: datetime | None = None, template: str = ""
) -> CertificateSpec:
    """Basic constraints and key usage are critical, RFC 5280 4.2.1.3 and 4.2.1.9; the rest is Microsoft's."""
    not_after = new.validity.after(now)
    extensions = [
        SpecExtension(oids.KEY_USAGE, True, key_usage(_CA_KEY_USAGE)),
        SpecExtension(oids.BASIC_CONSTRAINTS, True, basic_constraints(True, new.path_length)),
        SpecExtension(oids.CA_VERSION, False, ca_version(0, 0)),
    ]
    if template:
        extensions.append(SpecExtension(oids.CERTIFICATE_TEMPLATE_NAME, False, template_name(template)))
    skew = CaConfiguration.load(ca.settings).clock_skew
    return CertificateSpec(
        subject=_subject(ca, new),
        subject_alternative_names=(),
        not_before=whole_seconds(now - skew),
        not_after=whole_seconds(not_after if before is None else min(not_after, before)),
        template=None,
        extensions=tuple(extensions),
    )


def _subject(ca: CaRecord, new: NewCa) -> bytes:
    subject = new.subject or names.name_of((oids.COMMON_NAME, ca.name))
    broken = names.broken_upper_bound(subject)
    if broken is not None:
        raise ConfigurationError(f"the name of the CA {ca.name} cannot be certified: {broken}")
    if names.common_name(subject) != ca.name:
        raise ConfigurationError(f"the subject {names.format_name(subject)} does not end in CN={ca.name}")
    return subject


def _request(key: SigningKey, subject: bytes) -> bytes:
    """The PKCS#10 that a CA's setup makes for its own certificate: what the request table keeps."""
    distinguished = x509.Name(
        [
            x509.NameAttribute(x509.ObjectIdentifier(attribute.oid), attribute.value)
            for attribute in names.attributes(subject)
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(distinguished)
    return builder.sign(key.private_key, hashes.SHA256()).public_bytes(Encoding.DER)


def _public_key(key: SigningKey) -> PublicKeyInfo:
    return parse_public_key(key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


# -- checks ----------------------------------------------------------------------------------------------------------


def _vacant(database: CaDatabase, *, is_root: bool) -> CaRecord:
    ca = database.ca()
    if ca.certificates:
        raise ConfigurationError(f"the CA {ca.name} is installed already")
    if ca.ca_type.is_root is not is_root:
        raise ConfigurationError(f"the CA {ca.name} is {'no' if is_root else 'a'} root CA")
    return ca


def _vacant_still(transaction: CaTransaction) -> None:
    """Once more under the lock: two may install at once."""
    ca = transaction.ca()
    if ca.certificates:
        raise ConfigurationError(f"the CA {ca.name} was installed by somebody else meanwhile")


def _signer_of(parent: CaDatabase, keys: KeyStore) -> CaSigner:
    ca = parent.ca()
    if not ca.certificates:
        raise ConfigurationError(
            f"the CA {ca.name} has no certificate yet: install it first", HResult.CERTSRV_E_INVALID_CA_CERTIFICATE
        )
    newest = max(ca.certificates, key=lambda certificate: certificate.index)
    urls = CaConfiguration.load(ca.settings).issuance_urls(ca, newest)
    return CaSigner(newest.der, newest.index, newest.key_index, keys.open(newest.key_name), urls)


# -- rows ------------------------------------------------------------------------------------------------------------


def _ca_certificate(certificate: bytes, key_name: str) -> CaCertificateRecord:
    view = CertificateView.parse(certificate)
    return CaCertificateRecord(0, 0, certificate, key_name, view.not_before, view.not_after)


def _record(
    transaction: CaTransaction,
    record: CaCertificateRecord,
    state: RequestState,
    request: bytes,
    actor: Requester,
    now: datetime,
) -> None:
    """The CA's own certificate in its own request table. DB_DISP_CA_CERT for a root, ..._CHAIN for others."""
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
    request_id = transaction.next_request_id()
    row = replace(_row(facts, state, view.public_key, actor, now), request_id=request_id)
    transaction.add_request(row, request)
    transaction.add_certificate(request_id, _columns(facts, record.der, record.index, record.key_index), record.der)


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
        template="" if state is RequestState.CA_CERTIFICATE else _TEMPLATE,
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


def _audit_installed(
    transaction: CaTransaction, ca: CaRecord, record: CaCertificateRecord, actor: Requester, now: datetime
) -> None:
    view = CertificateView.parse(record.der)
    details: dict[str, str | int] = {
        "type": ca.ca_type.name.lower().replace("_", " "),
        "subject": view.subject_name,
        "issuer": view.issuer_name,
        "serial_number": view.serial_number,
        "sha256": view.sha256,
        "key": record.key_name,
        "not_after": view.not_after.isoformat(),
    }
    transaction.audit(CaEvent(AuditEvent.CA_INSTALLED, now, ca.name, actor.account, details))
