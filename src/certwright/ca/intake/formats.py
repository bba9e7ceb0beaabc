"""Bytes to `EnrollmentRequest`: which format, which attributes, proof of possession. [MS-WCCE] 3.2.1.4.2.1.4.

PKCS#10 is read here, signed messages around one by `messages`; KEYGEN is recognised and refused by name. Nothing is
decided about a request that is well formed: what it asks for, and by whom, is the policy's business. Attributes are
kept, whether anybody honours them or not; none of them names the requester.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from certwright.adcs.errors import HResult
from certwright.adcs.request import MAX_ATTRIBUTES_LENGTH, RequestAttributes, RequestFlags
from certwright.adcs.requester import Requester
from certwright.ca.intake.errors import ARCHIVING, MAX_REQUEST, VERIFYING, IntakeError, unreadable
from certwright.ca.intake.messages import REQUESTER_NAME, Message, is_message, read_message
from certwright.ca.intake.request import EnrollmentRequest, RequestedTemplate, StoredRequestFlag
from certwright.directory.base import Principal
from certwright.pki import der, oids
from certwright.pki.armor import dearmor
from certwright.pki.errors import EncodingError, SignatureError, WeakAlgorithm
from certwright.pki.pkcs10 import Attribute, CertificationRequest, VerifiedRequest

MAX_FACT: Final = 1024
"""Longest single thing a client says of itself that is stored, in characters."""

_OID: Final = re.compile(r"[012](\.[0-9]{1,10}){2,40}")
_MAX_TEMPLATES: Final = 16

_READ_ELSEWHERE: Final = frozenset(
    {
        oids.EXTENSION_REQUEST,
        oids.MS_CERT_EXTENSIONS,
        oids.OS_VERSION,
        oids.ENROLLMENT_CSP_PROVIDER,
        oids.REQUEST_CLIENT_INFO,
        oids.ENROLLMENT_NAME_VALUE_PAIR,
        oids.CHALLENGE_PASSWORD,  # a secret: it is not stored
    }
)
_FACT_NAMES: Final[Mapping[str, str]] = {
    oids.RENEWAL_CERTIFICATE: "renewal_certificate",
    oids.ENCRYPTED_KEY_HASH: "encrypted_key_hash",
    oids.EK_INFO: "endorsement_key_info",
    oids.ATTESTATION_STATEMENT: "attestation_statement",
    oids.ATTESTATION_STATEMENT_PRINTED: "attestation_statement",
    oids.AIK_INFO: "attestation_identity_key_info",
    oids.KSP_NAME: "key_storage_provider",
}
_TYPE_NAMES: Final = {
    RequestFlags.PKCS10: "PKCS#10",
    RequestFlags.KEYGEN: "KEYGEN",
    RequestFlags.CMS: "CMS",
    RequestFlags.CMC: "CMC",
    RequestFlags.CHALLENGE_RESPONSE: "a response to an attestation challenge",
    RequestFlags.SIGNED_CERTIFICATE_TIMESTAMP_LIST: "a list of signed certificate timestamps",
}


def read_request(
    raw: bytes,
    caller: Requester,
    principal: Principal | None,
    attributes: RequestAttributes,
    flags: RequestFlags,
) -> EnrollmentRequest:
    """Read what a client sent and verify its proof of possession.

    Args:
        raw: DER, PEM or base64, as it arrived.
        caller: who is on the connection.
        principal: the directory account that the certificate is for, the caller's unless an enrollment agent asks for
            another; None when the directory has none.
        attributes: the attributes string that came with it.
        flags: dwFlags of the submission; its format bits must agree with `raw`.

    Raises:
        IntakeError: too long, malformed, of another format than it should be, or not signed by its own key.
    """
    if is_message(raw):
        return accept_message(read_message(raw, flags), raw, caller, principal, attributes)
    return accept_request(parse_request(raw, flags), raw, caller, principal, attributes)


def parse_request(raw: bytes, flags: RequestFlags) -> CertificationRequest:
    """The first half of `read_request`: what a client sent, taken apart; its proof of possession is not verified yet.

    Raises:
        IntakeError: too long, malformed, or of another format than it should be.
    """
    data = _decoded(raw)
    if int(flags) & _OTHER_THAN_PKCS10:
        _demand_pkcs10(data, flags)
    try:
        return CertificationRequest.parse(data)
    except EncodingError as error:
        _demand_pkcs10(data, flags)  # another format is called by its name
        raise unreadable(error) from error


def accept_request(
    parsed: CertificationRequest,
    raw: bytes,
    caller: Requester,
    principal: Principal | None,
    attributes: RequestAttributes,
) -> EnrollmentRequest:
    """The second half of `read_request`.

    Raises:
        IntakeError: not signed by its own key, or with attributes that no request may have.
    """
    _verify(parsed)
    return _accepted(parsed, raw, caller, principal, attributes, parsed.name_value_pairs)


def accept_verified(
    verified: VerifiedRequest,
    raw: bytes,
    caller: Requester,
    principal: Principal | None,
    attributes: RequestAttributes,
) -> EnrollmentRequest:
    """The second half of `read_request` for a request whose proof of possession was verified in this process.

    Raises:
        IntakeError: attributes that no request may have.
    """
    parsed = verified.request
    return _accepted(parsed, raw, caller, principal, attributes, parsed.name_value_pairs)


def accept_message(
    message: Message,
    raw: bytes,
    caller: Requester,
    principal: Principal | None,
    attributes: RequestAttributes,
) -> EnrollmentRequest:
    """What a signed message asks for; its signatures were verified when it was read.

    Raises:
        IntakeError: attributes that no request may have.
    """
    parsed = message.parsed
    pairs = tuple(pair for pair in message.pairs if pair[0].lower() != REQUESTER_NAME) + parsed.name_value_pairs
    request = _accepted(parsed, raw, caller, principal, attributes, pairs)
    flags = StoredRequestFlag.NONE
    if parsed.renewal_certificate is not None:
        flags |= StoredRequestFlag.RENEWAL
    if message.on_behalf_of:
        flags |= StoredRequestFlag.ENROLL_ON_BEHALF_OF
    return request._replace(
        signatures=message.signatures,
        renewal_of=parsed.renewal_certificate or b"",
        on_behalf_of=message.on_behalf_of,
        body_part=message.body_part,
        flags=flags,
    )


def _accepted(
    parsed: CertificationRequest,
    raw: bytes,
    caller: Requester,
    principal: Principal | None,
    attributes: RequestAttributes,
    pairs: tuple[tuple[str, str], ...],
) -> EnrollmentRequest:
    if parsed.has_attribute(oids.ARCHIVED_KEY):
        raise IntakeError(
            "a private key for archival stands in a PKCS#10; it belongs, encrypted, into a CMC request",
            HResult.CERTSRV_E_BAD_REQUEST_KEY_ARCHIVAL,
            ARCHIVING,
        )
    merged = _merged(attributes, pairs) if pairs else attributes
    return EnrollmentRequest(
        der=parsed.der,
        raw=raw,
        caller=caller,
        subject_principal=principal,
        subject=parsed.subject,
        public_key=parsed.public_key,
        templates=_templates(attributes, pairs, parsed),
        extensions=parsed.extensions,
        alternative_names=parsed.alternative_names,
        attributes=merged,
        signature_algorithm=parsed.signature_algorithm,
        client_facts=_client_facts(parsed),
    )


# -- which format ----------------------------------------------------------------------------------------------------


def _decoded(raw: bytes) -> bytes:
    try:
        return dearmor(raw, MAX_REQUEST)
    except EncodingError as error:
        raise unreadable(error) from error


def _demand_pkcs10(data: bytes, flags: RequestFlags) -> None:
    """Refuse what is not PKCS#10, and a format that contradicts dwFlags. [MS-WCCE] 3.2.1.4.3.1.1.

    Raises:
        IntakeError: CRYPT_E_INVALID_MSG_TYPE, or CRYPT_E_ASN1_BADTAG when it is none of the formats.
    """
    found = detect_format(data)
    claimed = flags.request_type
    if claimed and claimed is not found:
        raise IntakeError(
            f"the request is said to be {_TYPE_NAMES.get(claimed, f'of type {int(claimed):#x}')}, but it is"
            f" {_TYPE_NAMES[found]}",
            HResult.CRYPT_E_INVALID_MSG_TYPE,
        )
    if found is RequestFlags.KEYGEN:
        raise IntakeError(
            "KEYGEN requests (SPKAC) are not accepted: browsers no longer make them, and their signature is MD5;"
            " send a PKCS#10 request",
            HResult.CRYPT_E_INVALID_MSG_TYPE,
        )
    if flags & RequestFlags.RENEWAL_ON_BEHALF_OF:
        raise IntakeError(
            "a renewal on behalf of others is signed with the old certificate; a PKCS#10 request is not",
            HResult.CRYPT_E_INVALID_MSG_TYPE,
        )
    if flags & (RequestFlags.PRECERTIFICATE | RequestFlags.PRESIGN):
        raise IntakeError(
            "certificate transparency is not enabled on this CA; ask for an ordinary certificate",
            HResult.ERROR_NOT_SUPPORTED,
        )


_OTHER_THAN_PKCS10: Final = (
    0xFE00 | RequestFlags.RENEWAL_ON_BEHALF_OF.value | RequestFlags.PRECERTIFICATE.value | RequestFlags.PRESIGN.value
)


def detect_format(data: bytes) -> RequestFlags:
    """PKCS10, CMS, CMC or KEYGEN by the first elements of the DER. [MS-WCCE] 3.2.1.4.2.1.4.

    Raises:
        IntakeError: CRYPT_E_ASN1_BADTAG: none of them.
    """
    try:
        outer = der.Reader.of(data, what="request")
        if outer.next_tag == der.OBJECT_IDENTIFIER:
            return _detect_cms(outer)
        inner = outer.enter()
        if inner.next_tag == der.INTEGER:
            return RequestFlags.PKCS10
        if inner.next_tag == der.SEQUENCE and outer.next_tag == der.SEQUENCE:
            return RequestFlags.KEYGEN
        what = "this looks like a certificate" if inner.next_tag == 0xA0 else "this is no certificate request"
    except EncodingError as error:
        raise unreadable(error) from error
    raise IntakeError(f"{what}; send the PKCS#10 request that was made for the key", HResult.CRYPT_E_ASN1_BADTAG)


def _detect_cms(outer: der.Reader) -> RequestFlags:
    content_type = outer.oid()
    if content_type != oids.CMS_SIGNED_DATA:
        raise EncodingError(f"request: CMS of type {oids.name_of(content_type)} is no request")
    signed_data = outer.enter(0xA0).enter()
    signed_data.integer()
    signed_data.read(der.SET)
    return RequestFlags.CMC if signed_data.enter().oid() == oids.CMC_PKI_DATA else RequestFlags.CMS


# -- proof of possession ---------------------------------------------------------------------------------------------


def _verify(parsed: CertificationRequest) -> None:
    """The signature must be the key's own. [MS-WCCE] 3.2.1.4.2.1.4.1.1."""
    try:
        parsed.verify_signature()
    except WeakAlgorithm as error:
        raise IntakeError(str(error), HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY, VERIFYING) from error
    except SignatureError as error:
        raise IntakeError(str(error), HResult.NTE_BAD_SIGNATURE, VERIFYING) from error
    except EncodingError as error:
        raise unreadable(error) from error


# -- attributes ------------------------------------------------------------------------------------------------------


def _merged(attributes: RequestAttributes, pairs: tuple[tuple[str, str], ...]) -> RequestAttributes:
    """The attributes string, then the name-value pairs it does not have already. [MS-WCCE] 3.2.1.4.2.1.2.

    A pair is brought into a line's form: it must not become two lines when the string is stored and read again.

    Raises:
        IntakeError: together they are longer than an attributes string may be.
    """
    items = list(attributes.items)
    known = {(name.lower(), value) for name, value in items}
    for name, value in _lines(pairs):
        if (name.lower(), value) not in known:
            known.add((name.lower(), value))
            items.append((name, value))
    merged = RequestAttributes(tuple(items))
    if len(str(merged)) > MAX_ATTRIBUTES_LENGTH:
        raise IntakeError(
            f"attributes string and name-value pairs together are longer than {MAX_ATTRIBUTES_LENGTH} characters",
            HResult.CERTSRV_E_ENCODING_LENGTH,
        )
    return merged


def _lines(pairs: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    for name, value in pairs:
        name = "".join(char for char in name if char not in " -\t\r\n\x00")
        if name and ":" not in name:
            yield name, " ".join(value.replace("\x00", " ").split())


def _templates(
    attributes: RequestAttributes, pairs: tuple[tuple[str, str], ...], parsed: CertificationRequest
) -> tuple[RequestedTemplate, ...]:
    """Every place a template may be named in, each name once. [MS-WCCE] 3.2.2.6.2.1.4.1.

    Raises:
        IntakeError: more names than any client has reason to send.
    """
    found: dict[str, RequestedTemplate] = {}
    for value in attributes.all("CertificateTemplate"):
        _add(found, value, "attributes")
    for name, value in _lines(pairs):
        if name.lower() == "certificatetemplate":
            _add(found, value, "name-value pairs")
    if parsed.template_name:
        _add(found, parsed.template_name, "extension 20.2")
    if parsed.template is not None:
        information = parsed.template
        found[information.oid] = RequestedTemplate(
            oid=information.oid,
            major_version=information.major_version,
            minor_version=information.minor_version,
            source="extension 21.7",
        )
    if len(found) > _MAX_TEMPLATES:
        raise IntakeError("the request names too many certificate templates", HResult.ERROR_INVALID_DATA)
    return tuple(found.values())


def _add(found: dict[str, RequestedTemplate], value: str, source: str) -> None:
    """A value in the form of an OID is taken for one: no template is called that."""
    if not value:
        return
    if _OID.fullmatch(value):
        found.setdefault(value, RequestedTemplate(oid=value, source=source))
    else:
        found.setdefault(value.lower(), RequestedTemplate(name=value, source=source))


def _client_facts(parsed: CertificationRequest) -> Mapping[str, str]:
    """What the client says of itself and of its key: stored, shown, never believed. [MS-WCCE] 2.2.2.7."""
    facts: dict[str, str] = {}
    if parsed.os_version:
        facts["os_version"] = parsed.os_version
    if parsed.csp_provider is not None:
        facts["csp_provider"] = parsed.csp_provider.name
        facts["key_spec"] = str(parsed.csp_provider.key_spec)
    if parsed.client_info is not None:
        facts["client_id"] = str(parsed.client_info.client_id)
        facts["machine"] = parsed.client_info.machine
        facts["user"] = parsed.client_info.user
        facts["process"] = parsed.client_info.process
    for attribute in parsed.attributes:
        if attribute.oid not in _READ_ELSEWHERE:
            facts[_FACT_NAMES.get(attribute.oid, attribute.oid)] = _in_hex(attribute)
    return MappingProxyType({name: _storable(value) for name, value in facts.items()}) if facts else _NO_FACTS


_NO_FACTS: Final[Mapping[str, str]] = MappingProxyType({})


def _storable(value: str) -> str:
    if len(value) > MAX_FACT:
        value = value[:MAX_FACT] + "..."
    return value if value.isprintable() else "".join(char if char.isprintable() else "?" for char in value)


def _in_hex(attribute: Attribute) -> str:
    return ",".join(value[: MAX_FACT // 2 + 1].hex() for value in attribute.values)
