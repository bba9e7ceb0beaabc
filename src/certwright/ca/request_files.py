"""A CA that another one signs by way of files: a request goes out, a certificate comes back. [MS-WCCE] 3.2.1.1.

Both sides are here. `ask` makes the key and the request and keeps them until `install` takes the answer, from whoever
signed it: a root of ours on a host without a network, or somebody else's. `sign` is the root's side. Nothing that a
file says is believed: a request must be signed with its own key, a certificate must be for the key that was asked
with, and its chain must verify up to a self-signed certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from certwright.adcs.errors import BadRequest, ConfigurationError, HResult
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaDatabase, CaRecord, CertificateRequestRecord
from certwright.ca.installation import NewCa, vacant
from certwright.ca.issuance.preparing import CRL_SIGN, KEY_CERT_SIGN
from certwright.ca.issuance.signing import CaSigner
from certwright.ca.own_certificates import (
    SUBORDINATE_TEMPLATE,
    CaTerms,
    certify,
    discard_key,
    newest_of,
    own_record,
    record_own,
    refuse_path_length,
    request_of,
    skew_of,
)
from certwright.ca.periods import Period
from certwright.keystores.base import KeyStore, SigningKey
from certwright.pki import names, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.extensions import decode_basic_constraints, decode_ca_version, decode_previous_ca_hash
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.public_keys import KeyKind
from certwright.pki.weak_keys import weaknesses

MAX_CHAIN: Final = 8
"""CAs above one of ours."""
MIN_RSA_BITS: Final = 2048


# -- out -------------------------------------------------------------------------------------------------------------


def ask(database: CaDatabase, keys: KeyStore, new: NewCa, actor: Requester, now: datetime) -> bytes:
    """Make a new CA's key and the request for its certificate (PKCS#10), and keep both.

    Raises:
        ConfigurationError: the CA has a certificate already, waits for one, or its name cannot be certified.
        KeyExists: the key's name is taken.
    """
    ca = vacant(database, is_root=False)
    return ask_with_new_key(database, keys, new, new.terms(ca, now), actor, now)


def ask_with_new_key(
    database: CaDatabase, keys: KeyStore, new: NewCa, terms: CaTerms, actor: Requester, now: datetime
) -> bytes:
    """Make a key and a request with these terms, and keep both until the answer is installed.

    Raises:
        ConfigurationError: the CA waits for an answer already.
        KeyExists: the key's name is taken.
    """
    refuse_waiting(database)
    key = keys.create(new.key_name, new.key_algorithm)
    try:
        return ask_with(database, key, terms, actor, now)
    except BaseException:
        discard_key(database, keys, new.key_name)
        raise


def ask_with(database: CaDatabase, key: SigningKey, terms: CaTerms, actor: Requester, now: datetime) -> bytes:
    """The same with a key that is there. Raises as `ask_with_new_key`."""
    request = request_of(key, terms)
    with database.transaction() as transaction:
        refuse_waiting(database)
        transaction.set_certificate_request(CertificateRequestRecord(key.name, request, now))
        details: dict[str, str | int] = {"key": key.name, "subject": names.format_name(terms.subject)}
        event = CaEvent(AuditEvent.CA_CERTIFICATE_ASKED_FOR, now, transaction.ca().name, actor.account, details)
        transaction.audit(event)
    return request


def refuse_waiting(database: CaDatabase) -> None:
    """Raises:
    ConfigurationError: another CA was asked for a certificate, and the answer is not here yet.
    """
    if database.certificate_request() is not None:
        raise ConfigurationError(
            f"{database.ca().name} waits for a certificate already: certwright ca request writes its request file"
            " again, certwright ca install takes the answer"
        )


def withdraw(database: CaDatabase, keys: KeyStore) -> None:
    """Give up a request; the key goes, unless the CA uses it already.

    Raises:
        ConfigurationError: there is none.
    """
    waiting = database.certificate_request()
    if waiting is None:
        raise ConfigurationError(f"{database.ca().name} waits for no certificate")
    with database.transaction() as transaction:
        transaction.set_certificate_request(None)
    discard_key(database, keys, waiting.key_name)


# -- the root's side -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CaRequest:
    """Another CA's request, read and found to be its own."""

    request: CertificationRequest
    name: str  # common name
    path_length: int | None  # what it asks for
    version: tuple[int, int]  # certificate index, key index
    previous_hash: bytes  # SHA-1 of its certificate before; empty for the first

    @classmethod
    def read(cls, der: bytes) -> CaRequest:
        """Raises:
        BadRequest: it is no request for a CA's certificate, is not signed with its own key, or has a weak one.
        """
        try:
            request = CertificationRequest.parse(der)
            request.verify_signature()
            constraints = request.extensions.get(oids.BASIC_CONSTRAINTS)
            asked = decode_basic_constraints(constraints.value) if constraints is not None else None
            version = request.extensions.get(oids.CA_VERSION)
            previous = request.extensions.get(oids.PREVIOUS_CA_HASH)
            found = cls(
                request,
                names.common_name(request.subject),
                asked.path_length if asked is not None else None,
                decode_ca_version(version.value) if version is not None else (0, 0),
                decode_previous_ca_hash(previous.value) if previous is not None else b"",
            )
        except (EncodingError, SignatureError) as error:
            raise BadRequest(f"this is no sound certificate request: {error}") from error
        if asked is None or not asked.ca:
            raise BadRequest("the request is not for a CA: it has no basic constraints that say so")
        if not found.name:
            raise BadRequest("the request names no CA: its subject has no common name")
        key = request.public_key
        if (key.kind is KeyKind.RSA and key.bits < MIN_RSA_BITS) or weaknesses(key):
            raise BadRequest(
                f"the key of the request ({key.kind_name} {key.bits}) is too weak for a CA: RSA takes at least"
                f" {MIN_RSA_BITS} bits from a sound generator",
                HResult.CERTSRV_E_KEY_LENGTH,
            )
        return found


def sign(
    parent: CaDatabase,
    signer: CaSigner,
    asked: CaRequest,
    validity: Period,
    path_length: int | None,
    actor: Requester,
    now: datetime,
) -> bytes:
    """Certify another CA by its request, as a certificate manager decides; recorded as issued.

    Of the request only the name, the key and Microsoft's version and predecessor are taken over.

    Args:
        path_length: how many CAs may stand below the new one.

    Raises:
        ConfigurationError: the signing CA may not certify CAs, or not one with this path length.
        BadRequest: the request is for the signing CA itself.
    """
    ca = parent.ca()
    if asked.request.subject == signer.certificate.subject:
        raise BadRequest(f"the request has the name of {ca.name} itself; a root renews itself: certwright ca renew")
    if CaConfiguration.load(ca.settings).suspended:
        raise ConfigurationError(f"{ca.name} is suspended; certwright ca resume lets it issue again")
    refuse_path_length(signer, path_length)
    terms = CaTerms(
        asked.request.subject,
        validity.after(now),
        path_length,
        *asked.version,
        template=SUBORDINATE_TEMPLATE,
    )
    spec = terms.specification(now, skew_of(ca), before=signer.issuing_certificate.not_after)
    previous = asked.request.extensions.get(oids.PREVIOUS_CA_HASH)
    if previous is not None:
        copied = replace(spec.extensions[0], oid=previous.oid, critical=False, value=previous.value)
        spec = spec._replace(extensions=(*spec.extensions, copied))
    with parent.transaction() as transaction:
        return certify(transaction, signer, spec, asked.request.public_key, asked.request.der, actor, now)


# -- back ------------------------------------------------------------------------------------------------------------


def install(
    database: CaDatabase, keys: KeyStore, certificates: Sequence[bytes], actor: Requester, now: datetime
) -> CaCertificateRecord:
    """Install the answer to a CA's request: its first certificate, or a renewed one.

    Args:
        certificates: the CA's own certificate and those above it, in any order, DER.

    Raises:
        ConfigurationError: the CA waits for no certificate, or none of these is a CA certificate for its key, of its
            name, valid now, with a chain that verifies.
        KeyUnavailable: the key that was made for it is not here.
    """
    ca = database.ca()
    waiting = database.certificate_request()
    if waiting is None:
        raise ConfigurationError(f"{ca.name} waits for no certificate: make a request first (certwright ca renew)")
    views = [_view(certificate) for certificate in certificates]
    own = _own(ca, waiting, views, now)
    chain = _chain(own, views, now)
    keys.open(waiting.key_name)
    with database.transaction() as transaction:
        now_waiting = database.certificate_request()
        if now_waiting is None or now_waiting.key_name != waiting.key_name:
            raise ConfigurationError(f"{ca.name} was given its certificate by somebody else meanwhile")
        ca = transaction.ca()
        index = len(ca.certificates)
        same_key = [each for each in ca.certificates if each.key_name == waiting.key_name]
        key_index = same_key[0].key_index if same_key else index
        record = own_record(own.der, waiting.key_name, index=index, key_index=key_index, chain=chain)
        event = AuditEvent.CA_CERTIFICATE_RENEWED if index else AuditEvent.CA_INSTALLED
        record_own(transaction, record, waiting.request, actor, now, event)
        transaction.set_certificate_request(None)
        transaction.set_parent(CertificateView.parse(chain[0]).common_name)
    return record


def _view(certificate: bytes) -> CertificateView:
    try:
        return CertificateView.parse(certificate)
    except EncodingError as error:
        raise ConfigurationError(f"a certificate in the file cannot be read: {error}") from error


def _own(
    ca: CaRecord, waiting: CertificateRequestRecord, views: Iterable[CertificateView], now: datetime
) -> CertificateView:
    """The certificate of the CA itself among those in a file."""
    request = CertificationRequest.parse(waiting.request)
    found = [view for view in views if view.public_key_info == request.public_key.der]
    if not found:
        raise ConfigurationError(
            f"no certificate in the file is for the key of {ca.name}'s request; certwright ca request writes the"
            " request file again"
        )
    own = max(found, key=lambda view: view.not_before)
    if own.common_name != ca.name or (ca.certificates and own.subject != _view(newest_of(ca).der).subject):
        raise ConfigurationError(f"the certificate is for {own.subject_name}, but the CA is called {ca.name}")
    usage = own.key_usage
    if not own.is_ca or (usage and not (usage[0] & KEY_CERT_SIGN and usage[0] & CRL_SIGN)):
        raise ConfigurationError(
            "the certificate does not let its holder sign certificates and CRLs (basic constraints, key usage): ask"
            " whoever signed it for a subordinate CA's certificate",
            HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
        )
    _demand_valid(own, now)
    return own


def _chain(own: CertificateView, views: Sequence[CertificateView], now: datetime) -> tuple[bytes, ...]:
    """The certificates above, nearest first, each signature verified, up to a self-signed one."""
    chain: list[CertificateView] = []
    below = own
    while not (chain and below.is_self_issued):
        above = next((view for view in views if view is not below and _signed_by(below, view)), None)
        if above is None:
            raise ConfigurationError(
                f"the chain is not whole: the certificate of {below.issuer_name}, which signed {below.subject_name},"
                " is missing or not the right one; add it with --chain FILE"
            )
        if len(chain) == MAX_CHAIN:
            raise ConfigurationError(f"the chain is longer than {MAX_CHAIN} certificates")
        _demand_valid(above, now)
        chain.append(above)
        below = above
    for place, view in enumerate(chain):
        constraints = view.extensions.get(oids.BASIC_CONSTRAINTS)
        limit = decode_basic_constraints(constraints.value).path_length if constraints is not None else None
        if limit is not None and limit < place:
            raise ConfigurationError(
                f"{view.subject_name} allows {limit} CAs below itself, and there would be {place + 1} with this one",
                HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
            )
    return tuple(view.der for view in chain)


def _signed_by(below: CertificateView, above: CertificateView) -> bool:
    if below.issuer != above.subject or not above.is_ca:
        return False
    try:
        below.verify_signed_by(above)
    except (SignatureError, EncodingError):
        return False
    return True


def _demand_valid(view: CertificateView, now: datetime) -> None:
    if not view.not_before <= now < view.not_after:
        raise ConfigurationError(
            f"the certificate of {view.subject_name} is valid from {view.not_before:%Y-%m-%d %H:%M}Z to"
            f" {view.not_after:%Y-%m-%d %H:%M}Z, which is not now",
            HResult.CERT_E_EXPIRED,
        )
