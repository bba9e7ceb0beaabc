"""What is in these bytes, for people: a tree of labels and values for any PKCS#10 request, certificate, CRL or chain.

Microsoft's extensions and attributes are decoded by name; what nobody knows, or what a known OID should not hold, is
shown as hex with the reason. Nothing is verified here, and nothing is judged: a forged certificate explains well.
Characters that would move a terminal's cursor are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from certwright.pki import armor, cms, der, extensions, oids
from certwright.pki.certificate import CertificateView, serial_hex
from certwright.pki.crl import CrlEntry, CrlView
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import Extension
from certwright.pki.general_names import GeneralName, Uri, parse_general_names, sid_of_uri
from certwright.pki.names import attributes, format_name
from certwright.pki.pkcs10 import Attribute, CertificationRequest
from certwright.pki.public_keys import KeyKind, PublicKeyInfo, parse_public_key

MAX_INPUT: Final = 64 << 20
MAX_ENTRIES: Final = 1000
"""Revoked certificates shown; the rest is counted."""
_HEX_SHOWN: Final = 256


@dataclass(frozen=True, slots=True)
class Explanation:
    """One node: what it is, what it says, what is inside."""

    label: str
    value: str = ""
    children: tuple[Explanation, ...] = field(default=())

    def __post_init__(self) -> None:
        """Labels and values come from strangers and go to a terminal: nothing in them may act there."""
        object.__setattr__(self, "label", _visible(self.label))
        object.__setattr__(self, "value", _visible(self.value))

    def to_dict(self) -> dict[str, object]:
        """For JSON: `label`, and `value` and `children` where there are any."""
        node: dict[str, object] = {"label": self.label}
        if self.value:
            node["value"] = self.value
        if self.children:
            node["children"] = [child.to_dict() for child in self.children]
        return node

    def lines(self, indent: int = 0) -> Iterable[str]:
        """The tree as indented text."""
        yield "  " * indent + (f"{self.label}: {self.value}" if self.value else self.label)
        for child in self.children:
            yield from child.lines(indent + 1)

    def find(self, label: str) -> Explanation | None:
        """The first node with a label, depth first."""
        if self.label == label:
            return self
        return next((found for child in self.children if (found := child.find(label))), None)


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def explain(data: bytes) -> Explanation:
    """Explain a request, certificate, CRL or CMS with certificates in DER, PEM or base64.

    Raises:
        EncodingError: it is none of them; the message gives the reason of each.
    """
    encoded = armor.dearmor(data, MAX_INPUT)
    readers: tuple[tuple[str, Callable[[bytes], Explanation]], ...] = (
        ("certificate", explain_certificate),
        ("certification request", explain_request),
        ("CRL", explain_crl),
        ("CMS", explain_chain),
    )
    reasons: list[str] = []
    for kind, reader in readers:
        try:
            return reader(encoded)
        except EncodingError as error:
            reasons.append(f"as a {kind}: {str(error).removeprefix(kind + ': ')}")
    raise EncodingError("this is no certificate, request, CRL or chain; " + "; ".join(reasons))


# -- the three kinds -------------------------------------------------------------------------------------------------


def explain_certificate(data: bytes) -> Explanation:
    """Raises `EncodingError` when `data` is no certificate in DER."""
    view = CertificateView.parse(data)
    return Explanation(
        "Certificate",
        view.subject_name,
        (
            Explanation("Serial number", view.serial_number),
            _name("Issuer", view.issuer),
            Explanation("Not before", _time(view.not_before)),
            Explanation("Not after", _time(view.not_after)),
            _name("Subject", view.subject),
            _public_key(parse_public_key(view.public_key_info)),
            _extensions("Extensions", view.extensions.values()),
            Explanation("Signature algorithm", _algorithm(view.algorithm)),
            Explanation("Thumbprint (SHA-1)", view.sha1),
            Explanation("Fingerprint (SHA-256)", view.sha256),
        ),
    )


def explain_request(data: bytes) -> Explanation:
    """Raises `EncodingError` when `data` is no PKCS#10 request in DER."""
    request = CertificationRequest.parse(data)
    return Explanation(
        "Certification request",
        format_name(request.subject),
        (
            _name("Subject", request.subject),
            _public_key(request.public_key),
            Explanation("Attributes", "", tuple(map(_attribute, request.attributes))),
            Explanation("Signature algorithm", _algorithm(request.algorithm)),
            Explanation("Fingerprint (SHA-256)", request.sha256),
        ),
    )


def explain_crl(data: bytes) -> Explanation:
    """Raises `EncodingError` when `data` is no CRL in DER."""
    view = CrlView.parse(data)
    shown: list[Explanation] = []
    count = 0
    for entry in view.entries():
        count += 1
        if count <= MAX_ENTRIES:
            shown.append(_entry(entry))
    if count > MAX_ENTRIES:
        shown.append(Explanation(f"and {count - MAX_ENTRIES} more"))
    return Explanation(
        "Delta CRL" if view.is_delta else "CRL",
        view.issuer_name,
        (
            _name("Issuer", view.issuer),
            Explanation("This update", _time(view.this_update)),
            Explanation("Next update", _time(view.next_update) if view.next_update else "none"),
            _extensions("Extensions", view.extensions.values()),
            Explanation("Revoked certificates", str(count), tuple(shown)),
            Explanation("Signature algorithm", _algorithm(view.algorithm)),
        ),
    )


def explain_chain(data: bytes) -> Explanation:
    """Raises `EncodingError` when `data` is no CMS SignedData in DER."""
    found = cms.parse_certs_only(data)
    return Explanation("Signed data", f"{len(found)} certificates", tuple(map(explain_certificate, found)))


# -- parts -----------------------------------------------------------------------------------------------------------


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def _algorithm(algorithm: bytes) -> str:
    return oids.name_of(der.Reader.of(algorithm, what="algorithm").oid())


def _name(label: str, name: bytes) -> Explanation:
    parts = tuple(Explanation(attribute.name, attribute.value) for attribute in attributes(name))
    return Explanation(label, format_name(name) or "(empty)", parts)


def _public_key(key: PublicKeyInfo) -> Explanation:
    parts = [Explanation("Algorithm", key.algorithm_name)]
    if key.kind is KeyKind.RSA:
        parts += [Explanation("Modulus", f"{key.bits} bits"), Explanation("Exponent", str(key.exponent))]
    elif key.kind is KeyKind.EC:
        parts.append(Explanation("Curve", key.curve or "explicit parameters"))
    parts.append(Explanation("Key identifier (SHA-1)", key.key_identifier.hex()))
    return Explanation("Public key", str(key), tuple(parts))


def _entry(entry: CrlEntry) -> Explanation:
    reason = f", {entry.reason.label}" if entry.reason else ""
    return Explanation(serial_hex(entry.serial), _time(entry.when) + reason)


def _hex(value: bytes) -> str:
    return value.hex() if len(value) <= _HEX_SHOWN else f"{value[:_HEX_SHOWN].hex()}... ({len(value)} bytes)"


def _oid(oid: str) -> str:
    return f"{oids.name_of(oid)} ({oid})" if oids.is_known(oid) else oid


def _leaves(label: str, values: Iterable[str]) -> tuple[Explanation, ...]:
    return tuple(Explanation(label, value) for value in values)


# -- extensions ------------------------------------------------------------------------------------------------------


def _extensions(label: str, found: Iterable[Extension]) -> Explanation:
    return Explanation(label, "", tuple(map(explain_extension, found)))


def explain_extension(entry: Extension) -> Explanation:
    """One extension; what cannot be read is shown as hex with the reason."""
    label = oids.name_of(entry.oid) + (", critical" if entry.critical else "")
    children = _decoded(_EXTENSIONS.get(entry.oid), entry.value)
    if len(children) == 1 and not children[0].label:
        return Explanation(label, children[0].value, children[0].children)
    return Explanation(label, "", children)


_Decoder = Callable[[bytes], tuple[Explanation, ...]]


def _decoded(decoder: _Decoder | None, value: bytes) -> tuple[Explanation, ...]:
    """What a decoder makes of a value; hex where there is none or where it fails."""
    if decoder is None:
        return _one(_hex(value))
    try:
        return decoder(value)
    except EncodingError as error:
        return (Explanation("unreadable", str(error)), Explanation("bytes", _hex(value)))


def _one(text: str, children: Sequence[Explanation] = ()) -> tuple[Explanation, ...]:
    return (Explanation("", text, tuple(children)),)


def _key_usage(value: bytes) -> tuple[Explanation, ...]:
    return _one(", ".join(extensions.key_usage_names(extensions.decode_key_usage(value))) or "nothing")


def _basic_constraints(value: bytes) -> tuple[Explanation, ...]:
    constraints = extensions.decode_basic_constraints(value)
    length = "" if constraints.path_length is None else f", path length {constraints.path_length}"
    return _one(("CA" if constraints.ca else "end entity") + length)


def _general_names(value: bytes) -> tuple[Explanation, ...]:
    return tuple(map(_general_name, parse_general_names(value)))


def _general_name(name: GeneralName) -> Explanation:
    if isinstance(name, Uri) and (sid := sid_of_uri(name.value)):
        return Explanation("URI", name.value, (Explanation("SID", sid),))
    label, _, text = str(name).partition(":")
    return Explanation(label, text)


def _template(value: bytes) -> tuple[Explanation, ...]:
    template = extensions.decode_certificate_template(value)
    versions = (("Major version", template.major_version), ("Minor version", template.minor_version))
    return (
        Explanation("Template", template.oid),
        *(Explanation(label, str(number)) for label, number in versions if number is not None),
    )


def _policies(value: bytes) -> tuple[Explanation, ...]:
    return tuple(
        Explanation("Policy", _oid(policy.oid), _leaves("CPS", policy.cps))
        for policy in extensions.decode_certificate_policies(value)
    )


def _access(value: bytes) -> tuple[Explanation, ...]:
    return tuple(
        Explanation(oids.name_of(method), str(name).removeprefix("URI:"))
        for method, name in extensions.decode_authority_information_access(value)
    )


def _mappings(value: bytes) -> tuple[Explanation, ...]:
    reader = der.Reader.of(value, what="policy mappings")
    found: list[Explanation] = []
    while reader.next_tag != -1:
        pair = reader.enter()
        found.append(Explanation("Mapping", f"{_oid(pair.oid())} to {_oid(pair.oid())}"))
        pair.finish()
    return tuple(found)


def _octets(value: bytes) -> tuple[Explanation, ...]:
    return _one(_hex(der.require_single(value, der.OCTET_STRING, "octets").content(value)))


def _ca_version(value: bytes) -> tuple[Explanation, ...]:
    certificate, key = extensions.decode_ca_version(value)
    return _one(f"V{certificate}.{key}")


def _integer(value: bytes) -> tuple[Explanation, ...]:
    return _one(str(der.decode_integer(der.require_single(value, der.INTEGER, "number").content(value))))


def _distribution_point(value: bytes) -> tuple[Explanation, ...]:
    reader = der.Reader.of(value, what="issuing distribution point")
    urls = extensions.decode_distribution_point_name(reader.content(0xA0)) if reader.next_tag == 0xA0 else []
    limits: list[str] = []
    while reader.next_tag != -1:
        element = reader.read()
        limits.append(_LIMITS.get(element.tag, der.tag_name(element.tag)))
    return (*_leaves("URL", urls), *_leaves("Limit", limits))


_LIMITS: Final = {
    0x81: "only user certificates",
    0x82: "only CA certificates",
    0x83: "only some reasons",
    0x84: "indirect CRL",
    0x85: "only attribute certificates",
}


def _urls(value: bytes) -> tuple[Explanation, ...]:
    return _leaves("URL", extensions.decode_crl_distribution_points(value))


def _authority_key(value: bytes) -> tuple[Explanation, ...]:
    key = extensions.decode_authority_key_identifier(value)
    return _one(key.hex() if key is not None else _hex(value))


def _no_check(value: bytes) -> tuple[Explanation, ...]:
    return _one("yes" if value == der.null() else _hex(value))


_EXTENSIONS: Final[dict[str, _Decoder]] = {
    oids.SUBJECT_KEY_IDENTIFIER: _octets,
    oids.AUTHORITY_KEY_IDENTIFIER: _authority_key,
    oids.KEY_USAGE: _key_usage,
    oids.SUBJECT_ALTERNATIVE_NAME: _general_names,
    oids.ISSUER_ALTERNATIVE_NAME: _general_names,
    oids.BASIC_CONSTRAINTS: _basic_constraints,
    oids.EXTENDED_KEY_USAGE: lambda v: _leaves("Usage", map(_oid, extensions.decode_extended_key_usage(v))),
    oids.CERTIFICATE_POLICIES: _policies,
    oids.APPLICATION_POLICIES: _policies,
    oids.CRL_DISTRIBUTION_POINTS: _urls,
    oids.FRESHEST_CRL: _urls,
    oids.PUBLISHED_CRL_LOCATIONS: _urls,
    oids.AUTHORITY_INFORMATION_ACCESS: _access,
    oids.SUBJECT_INFORMATION_ACCESS: _access,
    oids.POLICY_MAPPINGS: _mappings,
    oids.APPLICATION_POLICY_MAPPINGS: _mappings,
    oids.INHIBIT_ANY_POLICY: _integer,
    oids.OCSP_NO_CHECK: _no_check,
    oids.SMIME_CAPABILITIES: lambda v: _leaves("Algorithm", map(_oid, extensions.decode_smime_capabilities(v))),
    oids.CERTIFICATE_TEMPLATE_NAME: lambda value: _one(extensions.decode_template_name(value)),
    oids.CERTIFICATE_TEMPLATE: _template,
    oids.NTDS_CA_SECURITY: lambda value: _one(extensions.decode_sid(value)),
    oids.CA_VERSION: _ca_version,
    oids.PREVIOUS_CA_HASH: _octets,
    oids.NEXT_CRL_PUBLISH: lambda value: _one(_time(extensions.decode_next_crl_publish(value))),
    oids.CRL_NUMBER: _integer,
    oids.DELTA_CRL_INDICATOR: _integer,
    oids.CRL_VIRTUAL_BASE: _integer,
    oids.ISSUING_DISTRIBUTION_POINT: _distribution_point,
}


# -- attributes of requests ------------------------------------------------------------------------------------------


def _attribute(attribute: Attribute) -> Explanation:
    label = oids.name_of(attribute.oid)
    if attribute.oid == oids.CHALLENGE_PASSWORD:
        return Explanation(label, "(a secret, not shown)")
    decoder = _ATTRIBUTES.get(attribute.oid)
    children = tuple(child for value in attribute.values for child in _decoded(decoder, value))
    if len(children) == 1 and not children[0].label:
        return Explanation(label, children[0].value, children[0].children)
    return Explanation(label, "", children)


def _string(value: bytes) -> tuple[Explanation, ...]:
    element = der.require_single(value, what="string")
    return _one(der.decode_string(element.tag, element.content(value)))


def _client_info(value: bytes) -> tuple[Explanation, ...]:
    reader = der.Reader.of(value, what="client information")
    found: list[Explanation] = []
    if reader.next_tag == der.INTEGER:
        found.append(Explanation("Client", str(reader.integer())))
    for label in ("Machine", "User", "Process"):
        if reader.next_tag != -1:
            found.append(Explanation(label, reader.string()))
    reader.finish()
    return tuple(found)


def _csp_provider(value: bytes) -> tuple[Explanation, ...]:
    reader = der.Reader.of(value, what="CSP provider")
    return (Explanation("Key specification", str(reader.integer())), Explanation("Provider", reader.string()))


def _name_value_pair(value: bytes) -> tuple[Explanation, ...]:
    reader = der.Reader.of(value, what="name value pair")
    found: list[Explanation] = []
    while reader.next_tag != -1:
        pair = reader.enter() if reader.next_tag == der.SEQUENCE else reader
        found.append(Explanation(pair.string(), pair.string()))
    return tuple(found)


_ATTRIBUTES: Final[dict[str, _Decoder]] = {
    oids.EXTENSION_REQUEST: lambda value: tuple(map(explain_extension, extensions.parse_extensions(value).values())),
    oids.MS_CERT_EXTENSIONS: lambda value: tuple(map(explain_extension, extensions.parse_extensions(value).values())),
    oids.OS_VERSION: _string,
    oids.KSP_NAME: _string,
    oids.REQUEST_CLIENT_INFO: _client_info,
    oids.ENROLLMENT_CSP_PROVIDER: _csp_provider,
    oids.ENROLLMENT_NAME_VALUE_PAIR: _name_value_pair,
    oids.ENCRYPTED_KEY_HASH: _octets,
    oids.RENEWAL_CERTIFICATE: lambda value: (explain_certificate(value),),
}
