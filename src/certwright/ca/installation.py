"""New CAs: a self-signed root, and a subordinate that a CA of this installation certifies. [MS-WCCE] 3.2.1.1.

Values in, values out: the CA's row exists already (without certificates), keys are made in the key store given, and
where files lie is nobody's business here. A subordinate that somebody else signs comes by `request_files`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import Requester
from certwright.ca.database import CaCertificateRecord, CaDatabase, CaRecord, CaTransaction
from certwright.ca.issuance.signing import new_serial_number, self_sign
from certwright.ca.own_certificates import (
    SUBORDINATE_TEMPLATE,
    CaTerms,
    certify,
    checked_subject,
    discard_key,
    own_record,
    public_key_of,
    record_own,
    refuse_path_length,
    request_of,
    signer_of,
    skew_of,
)
from certwright.ca.periods import Period, Unit
from certwright.keystores.base import KeyAlgorithm, KeyStore

ROOT_VALIDITY: Final = Period(20, Unit.YEARS)
SUBORDINATE_VALIDITY: Final = Period(10, Unit.YEARS)


@dataclass(frozen=True, slots=True)
class NewCa:
    """What is to be installed."""

    key_name: str  # in the key store
    key_algorithm: KeyAlgorithm
    validity: Period
    subject: bytes = b""  # Name, DER; empty: the CA's name as its only CN
    path_length: int | None = None  # how many CAs may stand below it in a chain; None for no limit

    def terms(self, ca: CaRecord, now: datetime) -> CaTerms:
        """Raises:
        ConfigurationError: the CA's name cannot be written into a certificate.
        """
        template = "" if ca.ca_type.is_root else SUBORDINATE_TEMPLATE
        return CaTerms(
            checked_subject(ca, self.subject), self.validity.after(now), self.path_length, template=template
        )


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
    ca = vacant(database, is_root=True)
    terms = new.terms(ca, now)
    key = keys.create(new.key_name, new.key_algorithm)
    try:
        certificate = self_sign(key, terms.specification(now, skew_of(ca)), public_key_of(key), new_serial_number())
        record = own_record(certificate, key.name)
        with database.transaction() as transaction:
            vacant_still(transaction)
            record_own(transaction, record, request_of(key, terms), actor, now)
    except BaseException:
        discard_key(database, keys, new.key_name)  # nothing was signed with it that anybody has seen
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

    The parent's certificate is recorded as issued in the parent's request table, where it can be revoked. What both
    CAs record is one transaction.

    Raises:
        ConfigurationError: the CA has a certificate already, its parent none, or the parent may not certify CAs.
        KeyExists: the key's name is taken.
        KeyUnavailable: the parent's key is offline.
    """
    ca = vacant(database, is_root=False)
    signer = signer_of(parent, keys)
    refuse_path_length(signer, new.path_length)
    terms = new.terms(ca, now)
    spec = terms.specification(now, skew_of(ca), before=signer.issuing_certificate.not_after)
    key = keys.create(new.key_name, new.key_algorithm)
    try:
        request = request_of(key, terms)
        with parent.transaction_with(database) as (above, own):
            vacant_still(own)
            certificate = certify(above, signer, spec, public_key_of(key), request, actor, now)
            record = own_record(certificate, key.name)
            record_own(own, record, request, actor, now)
    except BaseException:
        discard_key(database, keys, new.key_name)
        raise
    return record


def vacant(database: CaDatabase, *, is_root: bool) -> CaRecord:
    """The CA's row, when it has no certificate yet.

    Raises:
        ConfigurationError: it has one, or is of the other kind.
    """
    ca = database.ca()
    if ca.certificates:
        raise ConfigurationError(f"the CA {ca.name} is installed already")
    if ca.ca_type.is_root is not is_root:
        raise ConfigurationError(f"the CA {ca.name} is {'no' if is_root else 'a'} root CA")
    return ca


def vacant_still(transaction: CaTransaction) -> None:
    """Once more under the lock: two may install at once."""
    ca = transaction.ca()
    if ca.certificates:
        raise ConfigurationError(f"the CA {ca.name} was installed by somebody else meanwhile")
