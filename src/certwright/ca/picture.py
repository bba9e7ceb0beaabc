"""What an officer is shown before deciding: each field as it was asked for and as it would be issued, and by whom.

The right-hand side is read back from the exact bytes that would be signed; nothing is said that they do not say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from certwright.adcs.interfaces import PreviewField
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.policy.base import CertificateSpec
from certwright.pki import der, extensions, names, oids
from certwright.pki.certificate import CertificateView, assemble_signed
from certwright.pki.errors import EncodingError
from certwright.pki.explain import explain_extension
from certwright.pki.extensions import Extension
from certwright.pki.general_names import GeneralName

AS_ASKED: Final = "as asked"
TEMPLATE: Final = "template"
DIRECTORY: Final = "directory"
CA: Final = "CA"
REPLACED: Final = "replaced"
REMOVED: Final = "removed"

_SHOWN_ELSEWHERE: Final = frozenset(
    {
        oids.SUBJECT_ALTERNATIVE_NAME,
        oids.KEY_USAGE,
        oids.EXTENDED_KEY_USAGE,
        oids.APPLICATION_POLICIES,
        oids.CERTIFICATE_POLICIES,
        oids.NTDS_CA_SECURITY,
        oids.CRL_DISTRIBUTION_POINTS,
        oids.AUTHORITY_INFORMATION_ACCESS,
        oids.SUBJECT_KEY_IDENTIFIER,
        oids.AUTHORITY_KEY_IDENTIFIER,
        oids.CERTIFICATE_TEMPLATE,
        oids.CERTIFICATE_TEMPLATE_NAME,
    }
)


def picture(
    request: EnrollmentRequest, template: str, spec: CertificateSpec, tbs: bytes, *, ends_with_ca: bool
) -> tuple[PreviewField, ...]:
    """Every field of the certificate that `tbs` is, beside what the request said.

    Args:
        template: the one the request was recorded for.
        ends_with_ca: is the validity cut short by the CA's own?
    """
    issued = _read_back(tbs)
    supplied = spec.template is None or spec.template.enrollee_supplies_subject
    named_by = TEMPLATE if supplied else DIRECTORY
    ends_by = CA if ends_with_ca or spec.template is None else TEMPLATE
    fields = [
        _field("Subject", names.format_name(request.subject), issued.subject_name, named_by),
        *_alternative_names(request.alternative_names, issued.alternative_names, named_by),
        PreviewField("Not before", "", issued.not_before.isoformat(), CA),
        PreviewField("Not after", "", issued.not_after.isoformat(), ends_by),
        _field("Key", str(request.public_key), str(issued.public_key), CA),
    ]
    for name, read, oid in (
        ("Key Usage", _key_usage, oids.KEY_USAGE),
        ("Application policies", _usages, oids.EXTENDED_KEY_USAGE),
        ("Issuance policies", _policies, oids.CERTIFICATE_POLICIES),
    ):
        asked, given = _text(read, request.extensions, oid), _text(read, issued.extensions, oid)
        if asked or given:
            fields.append(_field(name, asked, given, TEMPLATE))
    asked, given = _sid(request.extensions), issued.sid
    if asked or given:
        fields.append(_field("SID security extension", asked, given, DIRECTORY))
    asked, given = _locations(request.extensions), _locations(issued.extensions)
    if asked or given:
        fields.append(_field("CDP, AIA, OCSP", asked, given, CA))
    fields.append(_field("Template", template, spec.template.cn if spec.template else "", TEMPLATE))
    fields += _others(request.extensions, issued.extensions)
    return tuple(fields)


def picture_of_refused(request: EnrollmentRequest) -> tuple[PreviewField, ...]:
    """What was asked for, where nothing of it would be issued."""
    fields = [PreviewField("Subject", names.format_name(request.subject), "", REMOVED)]
    fields += _alternative_names(request.alternative_names, (), REMOVED)
    fields.append(PreviewField("Key", str(request.public_key), "", REMOVED))
    return tuple(fields)


def _read_back(tbs: bytes) -> CertificateView:
    """The certificate as it will be, but for its signature."""
    algorithm = list(der.children(tbs, der.require_single(tbs, der.SEQUENCE)))[2].whole(tbs)
    return CertificateView.parse(assemble_signed(tbs, algorithm, b"\0"))


def _field(name: str, asked: str, given: str, added_by: str) -> PreviewField:
    """One row; equal in meaning is equal whatever the order of several values."""
    if sorted(asked.split("\n")) == sorted(given.split("\n")):
        return PreviewField(name, asked, given, AS_ASKED)
    if not asked:
        return PreviewField(name, asked, given, added_by)
    if not given or set(given.split("\n")) < set(asked.split("\n")):
        return PreviewField(name, asked, given, REMOVED)
    return PreviewField(name, asked, given, REPLACED)


def _alternative_names(
    asked: Iterable[GeneralName], given: Iterable[GeneralName], added_by: str
) -> list[PreviewField]:
    """One row for each kind of name."""
    by_kind: dict[str, tuple[list[str], list[str]]] = {}
    for side, found in enumerate((asked, given)):
        for name in found:
            kind, _, text = str(name).partition(":")
            by_kind.setdefault(kind, ([], []))[side].append(text)
    return [
        _field(f"SAN, {kind}", "\n".join(one), "\n".join(other), added_by) for kind, (one, other) in by_kind.items()
    ]


def _key_usage(value: bytes) -> Iterable[str]:
    return extensions.key_usage_names(extensions.decode_key_usage(value))


def _usages(value: bytes) -> Iterable[str]:
    return map(oids.name_of, extensions.decode_extended_key_usage(value))


def _policies(value: bytes) -> Iterable[str]:
    return (oids.name_of(policy.oid) for policy in extensions.decode_certificate_policies(value))


def _text(read: Callable[[bytes], Iterable[str]], found: Mapping[str, Extension], oid: str) -> str:
    entry = found.get(oid)
    if entry is None:
        return ""
    try:
        return "\n".join(read(entry.value))
    except EncodingError as error:  # the requester's bytes: shown as what they are
        return f"unreadable: {error}"


def _sid(found: Mapping[str, Extension]) -> str:
    try:
        return extensions.sid_of(found)
    except EncodingError as error:
        return f"unreadable: {error}"


def _locations(found: Mapping[str, Extension]) -> str:
    return "\n".join(
        line
        for oid in (oids.CRL_DISTRIBUTION_POINTS, oids.AUTHORITY_INFORMATION_ACCESS)
        if oid in found
        for line in _lines(found[oid])
    )


def _others(asked: Mapping[str, Extension], given: Mapping[str, Extension]) -> list[PreviewField]:
    """Every other extension, in the certificate's order, then those that were only asked for."""
    rest = [oid for oid in dict.fromkeys((*given, *asked)) if oid not in _SHOWN_ELSEWHERE]
    fields = []
    for oid in rest:
        texts = ["\n".join(_lines(found[oid])) if oid in found else "" for found in (asked, given)]
        fields.append(_field(oids.name_of(oid), texts[0], texts[1], TEMPLATE))
    return fields


def _lines(entry: Extension) -> list[str]:
    explained = explain_extension(entry)
    lines = [line.strip() for child in explained.children for line in child.lines()]
    lines = ([explained.value] if explained.value else []) + lines
    return [*(["critical"] if entry.critical else []), *lines]
