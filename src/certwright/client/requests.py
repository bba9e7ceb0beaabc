"""Requests as a client makes them: a PKCS#10 for a template, and one signed by the certificate it renews.

RFC 2986 4.1; [MS-WCCE] 2.2.2.6.1, 3.1.1.4.3.1 (new), 3.1.1.4.3.2 (renewal), 2.2.2.7.2 (the template's extension).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwright.adcs.errors import InvalidArgument
from certwright.keystores.base import KeyAlgorithm, PrivateKey
from certwright.pki import der, oids
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
from certwright.pki.names import EMPTY, broken_upper_bound, name_of, parse_dn
from certwright.pki.signatures import Signer, default_scheme
from certwright.pki.signed_data import SignerIdentifier, Signing, sign
from certwright.wire.xcep import Policy

_TEMPLATE_EXTENSIONS: Final = (oids.CERTIFICATE_TEMPLATE, oids.CERTIFICATE_TEMPLATE_NAME)
_EC: Final = {"1.2.840.10045.3.1.7": KeyAlgorithm.ECDSA_P256, "1.3.132.0.34": KeyAlgorithm.ECDSA_P384}
_RSA: Final = (KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_3072, KeyAlgorithm.RSA_4096)
MAX_NAMES: Final = 100


def public_key_of(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_for(policy: Policy) -> KeyAlgorithm:
    """The least key that a template takes.

    Raises:
        InvalidArgument: it wants one that is not made here.
    """
    if policy.algorithm is not None and policy.algorithm.value != oids.RSA_ENCRYPTION:
        found = _EC.get(policy.algorithm.value)
        if found is None:
            raise InvalidArgument(
                f"the template {policy.common_name} wants keys of the kind {policy.algorithm.name}, which are not "
                "made here; make the key with another tool and name it with --key"
            )
        return found
    for algorithm in _RSA:
        if int(algorithm.value.removeprefix("rsa-")) >= policy.minimal_key_length:
            return algorithm
    raise InvalidArgument(
        f"the template {policy.common_name} wants keys of {policy.minimal_key_length} bits; make the key with "
        "another tool and name it with --key"
    )


def general_names(texts: Sequence[str]) -> tuple[GeneralName, ...]:
    """`web.corp.example`, or with a kind before it: `DNS:`, `IP:`, `email:`, `UPN:`, `URI:`.

    Raises:
        InvalidArgument: one is none, or there are too many.
    """
    if len(texts) > MAX_NAMES:
        raise InvalidArgument(f"{len(texts)} names are too many; at most {MAX_NAMES} fit into a request")
    return tuple(dict.fromkeys(_general_name(text.strip()) for text in texts))


def _general_name(text: str) -> GeneralName:
    kind, colon, value = text.partition(":")
    try:
        match kind.upper() if colon else "":
            case "":
                return DnsName(host_name_to_ascii(text.rstrip(".")))
            case "DNS":
                return DnsName(host_name_to_ascii(value.rstrip(".")))
            case "IP":
                return IpAddress(ipaddress.ip_address(value))
            case "EMAIL":
                return EmailAddress(value)
            case "UPN":
                return UserPrincipalName(value)
            case "URI":
                return Uri(value)
    except ValueError as error:  # EncodingError is one
        raise InvalidArgument(f"the name {text!r} cannot be used: {error}") from error
    raise InvalidArgument(f"{text!r} is no name: write it as web.corp.example or IP:192.0.2.7")


def subject_of(text: str, names: Sequence[GeneralName]) -> bytes:
    """The subject as it was given; else the first host name; else none, which the directory fills.

    Raises:
        InvalidArgument: it cannot stand in a request.
    """
    if not text:
        host = next((name.value for name in names if isinstance(name, DnsName)), "")
        return name_of((oids.COMMON_NAME, host)) if host and len(host) <= 64 else EMPTY
    try:
        subject = parse_dn(text)
    except EncodingError as error:
        raise InvalidArgument(f"the subject cannot be used: {error}") from error
    broken = broken_upper_bound(subject)
    if broken is not None:
        raise InvalidArgument(f"the subject cannot be used: {broken}")
    return subject


def template_extension(policy: Policy) -> bytes:
    """What names the template, as the policy server has it: 21.7, or 20.2 of version 1."""
    found = {each.oid.value: each for each in policy.extensions}
    return next((extension(oid, found[oid].value) for oid in _TEMPLATE_EXTENSIONS if oid in found), b"")


def new_request(key: PrivateKey, policy: Policy, subject: bytes, names: Sequence[GeneralName]) -> bytes:
    """A PKCS#10 (DER) for a template."""
    return _request(key, subject, names, template_extension(policy))


def renewal_request(key: PrivateKey, old: CertificateView, old_key: PrivateKey) -> bytes:
    """The same names from the same template again, for another key or the same, signed by the old certificate."""
    named = next((old.extensions[oid].encode() for oid in _TEMPLATE_EXTENSIONS if oid in old.extensions), b"")
    renews = der.sequence(der.oid(oids.RENEWAL_CERTIFICATE), der.set_of(old.der))
    request = _request(key, old.subject, old.alternative_names, named, renews)
    scheme = default_scheme(old_key)
    signing = Signing(
        SignerIdentifier.of(old), scheme.algorithm, scheme.hash_oid, lambda data: scheme.sign(old_key, data)
    )
    return sign(oids.CMS_DATA, request, (signing,), (old.der,))


def _request(
    key: PrivateKey, subject: bytes, names: Sequence[GeneralName], template: bytes, attribute: bytes = b""
) -> bytes:
    extensions = template
    if names:
        # RFC 5280 4.2.1.6: critical when nothing else names the subject
        value = subject_alternative_name(names)
        extensions += extension(oids.SUBJECT_ALTERNATIVE_NAME, value, critical=subject == EMPTY)
    attributes = [attribute] if attribute else []
    if extensions:
        attributes.append(der.sequence(der.oid(oids.EXTENSION_REQUEST), der.set_of(der.sequence(extensions))))
    info = der.sequence(der.integer(0), subject, public_key_of(key), der.implicit(0, der.set_of(*attributes)))
    signer = Signer.of(key)
    return assemble_signed(info, signer.algorithm, signer.sign(info))
