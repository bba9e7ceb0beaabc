"""Keys and requests made here. RFC 2986 (PKCS#10), RFC 5958 (PKCS#8), RFC 7292 (PFX).

A private key is kept sealed, bound to its public key: a certificate is paired with its key by the SHA-256 of the
SubjectPublicKeyInfo alone, whenever either of them arrives. A key leaves only encrypted, for those allowed, audited.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, serialize_key_and_certificates

from certwright.adcs.errors import BadRequest, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.database import Connection
from certwright.keystores.base import KeyAlgorithm, PrivateKey
from certwright.keystores.sealing import Sealer, SealingError
from certwright.manager import store_inventory as rows
from certwright.manager.changes import Changes
from certwright.manager.values import (
    MAX_ALTERNATIVE_NAMES,
    AlternativeName,
    KeyFields,
    NameKind,
    optional_text,
    required_text,
)
from certwright.pki import der, oids
from certwright.pki.armor import CERTIFICATE, armor
from certwright.pki.certificate import CertificateView, assemble_signed
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import extension, subject_alternative_name
from certwright.pki.general_names import (
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    Uri,
    UserPrincipalName,
    host_name_to_ascii,
)
from certwright.pki.names import EMPTY, broken_upper_bound, common_name, parse_dn
from certwright.pki.public_keys import parse_public_key
from certwright.pki.signatures import Signer

MIN_PASSWORD: Final = 12
"""Characters of a password that protects an exported key."""
MAX_PASSWORD: Final = 200
_MIN_RSA_BITS: Final = 2048
_ALGORITHMS: Final = {("RSA", 2048): "rsa-2048", ("RSA", 3072): "rsa-3072", ("RSA", 4096): "rsa-4096"}


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key with its request, not stored yet. `sealed` is what the database will hold."""

    spki_sha256: str
    algorithm: str
    sealed: bytes = field(repr=False)
    csr: bytes = b""


class Keys:
    """Makes, keeps, pairs and exports private keys."""

    def __init__(self, changes: Changes, sealer: Sealer) -> None:
        self._changes = changes
        self._sealer = sealer

    # -- making ------------------------------------------------------------------------------------------------

    def make(self, fields: KeyFields) -> MadeKey:
        """A new key and its request. Takes up to some seconds for RSA; nothing is stored until `insert`.

        Raises:
            InvalidArgument: subject or names cannot stand in a request.
        """
        subject_and_names(fields)
        return self._made(fields.algorithm.generate(), fields)

    def again(self, spki_sha256: str, fields: KeyFields) -> bytes:
        """A request (DER) with a key that is here already.

        Raises:
            InvalidArgument: the key is not here, or subject or names cannot stand in a request.
        """
        return make_request(self.private_key(spki_sha256), fields)

    def _made(self, private_key: PrivateKey, fields: KeyFields) -> MadeKey:
        return self.sealed(private_key, make_request(private_key, fields))

    def sealed(self, private_key: PrivateKey, csr: bytes = b"") -> MadeKey:
        """A key as the database holds it."""
        spki = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = hashlib.sha256(spki).hexdigest()
        plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return MadeKey(digest, str(parse_public_key(spki)), self._sealer.seal(plain, _context(digest)), csr)

    @staticmethod
    def insert(connection: Connection, made: MadeKey, when: int, actor: str) -> bool:
        """Keep a key, in the caller's transaction. False when it is here already."""
        return rows.insert_key(connection, made.spki_sha256, made.algorithm, made.sealed, when, actor)

    # -- using -------------------------------------------------------------------------------------------------

    def holds(self, spki_sha256: str) -> bool:
        with self._changes.database.read() as connection:
            return rows.has_key(connection, spki_sha256)

    def private_key(self, spki_sha256: str) -> PrivateKey:
        """Raises:
        InvalidArgument: it is not here.
        ConfigurationError: it does not open.
        """
        with self._changes.database.read() as connection:
            sealed = rows.sealed_key(connection, spki_sha256)
        if sealed is None:
            raise InvalidArgument("The private key of this certificate is not kept here.")
        try:
            plain = self._sealer.open(sealed, _context(spki_sha256))
        except SealingError as error:
            raise ConfigurationError(f"The private key cannot be opened: {error}.") from error
        return cast(PrivateKey, load_der_private_key(plain, None))

    def export_pem(
        self, certificate_id: int, password: str, *, with_chain: bool = True, reason: str = "", actor: str
    ) -> bytes:
        """Certificate, chain and the key as encrypted PKCS#8, in PEM. Audited before it is handed out.

        Raises:
            InvalidArgument: the key is not here, or the password is too short.
        """
        encryption = BestAvailableEncryption(_password(password))
        private_key, certificate, chain = self._for_export(certificate_id, with_chain)
        self._audit_export(certificate_id, "PEM", reason, actor)
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        return pem + "".join(armor(CERTIFICATE, each) for each in (certificate, *chain)).encode()

    def export_pfx(
        self,
        certificate_id: int,
        password: str,
        *,
        with_chain: bool = True,
        for_old_windows: bool = False,
        reason: str = "",
        actor: str,
    ) -> bytes:
        """Certificate, chain and key as PFX. Audited before it is handed out.

        Args:
            for_old_windows: encrypt with 3DES and SHA-1, which Windows before Server 2019 needs.

        Raises:
            InvalidArgument: the key is not here, or the password is too short.
        """
        encryption: KeySerializationEncryption = BestAvailableEncryption(_password(password))
        if for_old_windows:
            encryption = (
                PrivateFormat.PKCS12.encryption_builder()
                .kdf_rounds(50_000)
                .key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
                .hmac_hash(hashes.SHA1())  # noqa: S303 - what the old format has; the strong one is the default
                .build(_password(password))
            )
        private_key, certificate, chain = self._for_export(certificate_id, with_chain)
        self._audit_export(certificate_id, "PFX", reason, actor)
        leaf = x509.load_der_x509_certificate(certificate)
        above = [x509.load_der_x509_certificate(each) for each in chain]
        return serialize_key_and_certificates(_friendly(certificate), private_key, leaf, above or None, encryption)

    def _for_export(self, certificate_id: int, with_chain: bool) -> tuple[PrivateKey, bytes, Sequence[bytes]]:
        with self._changes.database.read() as connection:
            row = rows.certificate(connection, certificate_id)
            certificate = rows.certificate_der(connection, certificate_id)
            if row is None or certificate is None:
                raise InvalidArgument(f"There is no certificate number {certificate_id} in the inventory.")
            chain = rows.chain_above(connection, certificate) if with_chain else ()
        return self.private_key(row.spki_sha256), certificate, chain

    def _audit_export(self, certificate_id: int, form: str, reason: str, actor: str) -> None:
        reason = optional_text(reason, "The reason", 500)
        with self._changes.change(actor) as change:
            row = rows.certificate(change.connection, certificate_id)
            if row is None:
                raise InvalidArgument(f"There is no certificate number {certificate_id} in the inventory.")
            rows.add_line(change.connection, certificate_id, change.when, actor, f"Private key exported as {form}.")
            change.record(
                AuditEvent.PRIVATE_KEY_EXPORTED,
                {
                    "certificate": certificate_id,
                    "common_name": row.common_name,
                    "sha256": row.sha256,
                    "format": form,
                    "reason": reason,
                },
            )


# -- requests --------------------------------------------------------------------------------------------------------


def subject_and_names(fields: KeyFields, *, empty_allowed: bool = False) -> tuple[bytes, tuple[GeneralName, ...]]:
    """The Name and the general names that a request will have.

    Raises:
        InvalidArgument: one of them cannot be written, or there is neither.
    """
    try:
        subject = parse_dn(fields.subject)
    except EncodingError as error:
        raise InvalidArgument(f"The subject cannot be used: {error}.") from error
    broken = broken_upper_bound(subject)
    if broken is not None:
        raise InvalidArgument(f"The subject cannot be used: {broken}.")
    if len(fields.names) > MAX_ALTERNATIVE_NAMES:
        raise InvalidArgument(
            f"{len(fields.names)} alternative names are too many; at most {MAX_ALTERNATIVE_NAMES} fit into a request."
        )
    found = tuple(dict.fromkeys(_general_name(name) for name in fields.names))
    if subject == EMPTY and not found and not empty_allowed:
        raise InvalidArgument("The request has neither a subject nor an alternative name; enter a common name.")
    return subject, found


def make_request(private_key: PrivateKey, fields: KeyFields) -> bytes:
    """A CertificationRequest (DER), signed with the key. RFC 2986 4.1.

    Raises:
        InvalidArgument: subject or names cannot stand in a request.
    """
    subject, alternative_names = subject_and_names(fields)
    attributes = b""
    if alternative_names:
        value = subject_alternative_name(alternative_names)
        # RFC 5280 4.2.1.6: critical when nothing else names the subject
        wanted = extension(oids.SUBJECT_ALTERNATIVE_NAME, value, critical=subject == EMPTY)
        attributes = der.sequence(der.oid(oids.EXTENSION_REQUEST), der.set_of(der.sequence(wanted)))
    info = der.sequence(
        der.integer(0),
        subject,
        private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        der.tlv(0xA0, attributes),
    )
    signer = Signer.of(private_key)
    return assemble_signed(info, signer.algorithm, signer.sign(info))


@lru_cache(maxsize=len(KeyAlgorithm))
def _throwaway(algorithm: KeyAlgorithm) -> PrivateKey:
    return algorithm.generate()


def trial_request(fields: KeyFields) -> bytes:
    """A request (DER) as `Keys.make` would make it, to look at and never to be sent.

    Its key is nobody's: every trial of an algorithm has the same one.

    Raises:
        InvalidArgument: subject or names cannot stand in a request.
    """
    subject_and_names(fields)
    return make_request(_throwaway(fields.algorithm), fields)


def _general_name(name: AlternativeName) -> GeneralName:
    value = required_text(name.value, f"The {name.kind.value} name", 1024)
    try:
        match name.kind:
            case NameKind.DNS:
                return DnsName(host_name_to_ascii(value.rstrip(".")))
            case NameKind.IP:
                return IpAddress(ipaddress.ip_address(value))
            case NameKind.EMAIL:
                if value.count("@") != 1 or value.startswith("@") or value.endswith("@") or not value.isascii():
                    raise ValueError(f"{value!r} is no mail address")
                return EmailAddress(value)
            case NameKind.UPN:
                if value.count("@") != 1 or value.startswith("@") or value.endswith("@"):
                    raise ValueError(f"{value!r} is no user principal name; write it as alice@corp.example")
                return UserPrincipalName(value)
            case NameKind.URI:
                if ":" not in value or not value.isascii() or " " in value:
                    raise ValueError(f"{value!r} is no URI")
                return Uri(value)
    except ValueError as error:  # EncodingError is one
        raise InvalidArgument(f"The alternative name cannot be used: {error}.") from error


# -- keys from elsewhere ---------------------------------------------------------------------------------------------


def algorithm_of(private_key: PrivateKey) -> KeyAlgorithm | None:
    """What to make a new key like; None when it is none of the kinds made here."""
    if isinstance(private_key, rsa.RSAPrivateKey):
        name = _ALGORITHMS.get(("RSA", private_key.key_size))
        return KeyAlgorithm(name) if name is not None else None
    curves = {"secp256r1": KeyAlgorithm.ECDSA_P256, "secp384r1": KeyAlgorithm.ECDSA_P384}
    return curves.get(private_key.curve.name)


def similar_algorithm(key_name: str) -> KeyAlgorithm:
    """The algorithm for a new key in the place of one called `RSA 2048 bits` or `P-256`; at least as strong."""
    exact = {
        "RSA 2048 bits": KeyAlgorithm.RSA_2048,
        "RSA 3072 bits": KeyAlgorithm.RSA_3072,
        "RSA 4096 bits": KeyAlgorithm.RSA_4096,
        "P-256": KeyAlgorithm.ECDSA_P256,
        "P-384": KeyAlgorithm.ECDSA_P384,
    }
    if key_name in exact:
        return exact[key_name]
    return KeyAlgorithm.RSA_3072 if key_name.startswith("RSA") else KeyAlgorithm.ECDSA_P384


def usable_key(found: object) -> PrivateKey:
    """A key from a file that may be kept here.

    Raises:
        BadRequest: it is of a kind, or of a size, that is not kept.
    """
    if isinstance(found, rsa.RSAPrivateKey):
        if found.key_size < _MIN_RSA_BITS:
            raise BadRequest(
                f"an RSA key of {found.key_size} bits is too short to be kept; {_MIN_RSA_BITS} is the least"
            )
        return found
    if isinstance(found, ec.EllipticCurvePrivateKey):
        return found
    raise BadRequest("its private key is neither RSA nor of an elliptic curve")


def load_key(data: bytes, password: str) -> PrivateKey:
    """A private key from PEM, or DER.

    Raises:
        BadRequest: it cannot be read, or needs another password.
    """
    load = load_pem_private_key if b"-----BEGIN" in data[:4096] else load_der_private_key
    try:
        try:
            return usable_key(load(data, None))
        except TypeError:  # it is encrypted
            if not password:
                raise BadRequest("its private key is encrypted; enter the password") from None
            return usable_key(load(data, password.encode()))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadRequest("its private key cannot be read: it is damaged, or the password is wrong") from error


def _context(spki_sha256: str) -> str:
    return f"manager_private_key/{spki_sha256}"


def _password(password: str) -> bytes:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidArgument(
            f"The password has {len(password)} characters; an exported key needs {MIN_PASSWORD} to {MAX_PASSWORD}."
        )
    return password.encode()


def _friendly(certificate: bytes) -> bytes:
    """What Windows shows as the friendly name."""
    view = CertificateView.parse(certificate)
    return (common_name(view.subject) or view.serial_number).encode()[:64]
