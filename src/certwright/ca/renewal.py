"""A CA renews its own certificate, with the same key or a new one. [MS-WCCE] 3.2.1.4.3.2.39, [MS-CSRA] 3.1.1.4.

The certificate gets the next index; with a new key that is the key's index too, and the old key goes on signing its
own CRLs until its last certificate ends (`revocation.crl.certificates_by_key`). The renewed certificate names its
predecessor by hash. A root that changes its key signs two cross certificates, so that whoever trusts only one of the
two certificates trusts what stands under the other. Everything is one transaction: a renewal is whole or not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import Requester
from certwright.ca.database import CaCertificateRecord, CaDatabase, CaRecord, CaTransaction
from certwright.ca.installation import ROOT_VALIDITY, SUBORDINATE_VALIDITY, NewCa
from certwright.ca.issuance.signing import CaSigner, new_serial_number, self_sign
from certwright.ca.own_certificates import (
    CROSS_TEMPLATE,
    SUBORDINATE_TEMPLATE,
    CaTerms,
    certify,
    discard_key,
    newest_of,
    own_record,
    public_key_of,
    record_own,
    refuse_path_length,
    request_of,
    signer_of,
    skew_of,
)
from certwright.ca.periods import Period
from certwright.ca.request_files import ask_with, ask_with_new_key, refuse_waiting
from certwright.ca.urls import NO_URLS
from certwright.keystores.base import KeyAlgorithm, KeyStore, SigningKey
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import decode_basic_constraints


@dataclass(frozen=True, slots=True)
class Renewal:
    """How a CA is renewed."""

    validity: Period
    new_key: tuple[str, KeyAlgorithm] | None = None  # its name in the key store; None: the same key

    @classmethod
    def usual(cls, ca: CaRecord, new_key: tuple[str, KeyAlgorithm] | None = None) -> Renewal:
        return cls(ROOT_VALIDITY if ca.ca_type.is_root else SUBORDINATE_VALIDITY, new_key)


def renew_root(
    database: CaDatabase, keys: KeyStore, renewal: Renewal, actor: Requester, now: datetime
) -> CaCertificateRecord:
    """A root signs its own next certificate, and with a new key both cross certificates.

    Raises:
        ConfigurationError: it is no root, has no certificate yet, or was renewed by somebody else meanwhile.
        KeyUnavailable: its present key is offline.
    """
    ca = database.ca()
    if not ca.ca_type.is_root:
        raise ConfigurationError(f"{ca.name} is no root CA: the CA above it has to sign its certificate")
    before = newest_of(ca)
    old_signer = signer_of(database, keys, before)
    key, made = _key(keys, renewal, before)
    try:
        terms = _terms(ca, before, renewal, now)
        spec = terms.specification(now, skew_of(ca))
        certificate = self_sign(key, spec, public_key_of(key), new_serial_number())
        request = request_of(key, terms)
        index, key_index = terms.certificate_index, terms.key_index
        with database.transaction() as transaction:
            _unchanged(transaction, ca)
            crosses: tuple[bytes, ...] = ()
            if made:
                new_signer = CaSigner(certificate, index, key_index, key, NO_URLS)
                old_key = keys.open(before.key_name)
                crosses = (
                    _cross(transaction, ca, old_signer, new_signer, key, actor, now),
                    _cross(transaction, ca, new_signer, old_signer, old_key, actor, now),
                )
            record = own_record(certificate, key.name, index=index, key_index=key_index, crosses=crosses)
            record_own(transaction, record, request, actor, now, AuditEvent.CA_CERTIFICATE_RENEWED)
    except BaseException:
        if made:
            discard_key(database, keys, key.name)
        raise
    return record


def renew_subordinate(
    parent: CaDatabase, database: CaDatabase, keys: KeyStore, renewal: Renewal, actor: Requester, now: datetime
) -> CaCertificateRecord:
    """A CA of this installation signs the next certificate of one below it.

    Raises:
        ConfigurationError: one of them has no certificate yet, or was renewed by somebody else meanwhile.
        KeyUnavailable: the parent's key, or with the same key the CA's own, is offline.
    """
    ca = database.ca()
    before = newest_of(ca)
    refuse_waiting(database)
    signer = signer_of(parent, keys)
    terms = _terms(ca, before, renewal, now)
    refuse_path_length(signer, terms.path_length)
    spec = terms.specification(now, skew_of(ca), before=signer.issuing_certificate.not_after)
    key, made = _key(keys, renewal, before)
    try:
        request = request_of(key, terms)
        with parent.transaction_with(database) as (above, own):
            _unchanged(own, ca)
            certificate = certify(above, signer, spec, public_key_of(key), request, actor, now)
            index, key_index = terms.certificate_index, terms.key_index
            record = own_record(certificate, key.name, index=index, key_index=key_index)
            record_own(own, record, request, actor, now, AuditEvent.CA_CERTIFICATE_RENEWED)
    except BaseException:
        if made:
            discard_key(database, keys, key.name)
        raise
    return record


def ask_for_renewal(database: CaDatabase, keys: KeyStore, renewal: Renewal, actor: Requester, now: datetime) -> bytes:
    """Make the request for a subordinate's next certificate (PKCS#10), for a CA elsewhere to sign.

    The present certificate stays in use until `request_files.install` takes the answer.

    Raises:
        ConfigurationError: it is a root, has no certificate yet, or waits for one already.
        KeyUnavailable: with the same key, that it is offline.
    """
    ca = database.ca()
    if ca.ca_type.is_root:
        raise ConfigurationError(f"{ca.name} is a root CA and signs its own certificate; no request is needed")
    before = newest_of(ca)
    terms = _terms(ca, before, renewal, now)
    if renewal.new_key is not None:
        name, algorithm = renewal.new_key
        return ask_with_new_key(database, keys, NewCa(name, algorithm, renewal.validity), terms, actor, now)
    return ask_with(database, keys.open(before.key_name), terms, actor, now)


def _key(keys: KeyStore, renewal: Renewal, before: CaCertificateRecord) -> tuple[SigningKey, bool]:
    """The key of the next certificate, and whether it was made for it."""
    if renewal.new_key is None:
        return keys.open(before.key_name), False
    name, algorithm = renewal.new_key
    return keys.create(name, algorithm), True


def _terms(ca: CaRecord, before: CaCertificateRecord, renewal: Renewal, now: datetime) -> CaTerms:
    """What the next certificate says: as the one before, with the next index."""
    view = CertificateView.parse(before.der)
    constraints = view.extensions.get(oids.BASIC_CONSTRAINTS)
    index = before.index + 1
    return CaTerms(
        subject=view.subject,
        not_after=renewal.validity.after(now),
        path_length=decode_basic_constraints(constraints.value).path_length if constraints is not None else None,
        certificate_index=index,
        key_index=before.key_index if renewal.new_key is None else index,
        previous=before.der,
        template="" if ca.ca_type.is_root else SUBORDINATE_TEMPLATE,
    )


def _unchanged(transaction: CaTransaction, ca: CaRecord) -> None:
    """Two may renew at once: under the lock the CA must have the certificates that were looked at."""
    if len(transaction.ca().certificates) != len(ca.certificates):
        raise ConfigurationError(f"{ca.name} was renewed by somebody else meanwhile")


def _cross(
    transaction: CaTransaction,
    ca: CaRecord,
    signer: CaSigner,
    other: CaSigner,
    key: SigningKey,
    actor: Requester,
    now: datetime,
) -> bytes:
    """One key of a CA signs another, which is `key`: like the certificate of that key, and no longer valid than both.

    [MS-WCCE] 3.2.1.4.3.2.39, template CrossCA.
    """
    terms = CaTerms(
        subject=other.certificate.subject,
        not_after=min(signer.certificate.not_after, other.certificate.not_after),
        path_length=other.issuing_certificate.path_length,
        certificate_index=other.certificate_index,
        key_index=other.key_index,
        template=CROSS_TEMPLATE,
    )
    spec = terms.specification(now, skew_of(ca))
    spec = spec._replace(not_before=max(spec.not_before, signer.certificate.not_before))
    request = request_of(key, terms)
    public_key = other.certificate.public_key
    return certify(transaction, signer, spec, public_key, request, actor, now, template=CROSS_TEMPLATE)
