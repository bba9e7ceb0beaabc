"""What pkilint says of a certificate: RFC 5280, rule by rule. For whoever installed it (`certwright[lint]`).

A linter reads certificates with a library of its own; what it is given is bounded, because certificates come from
anywhere. It judges encodings, not trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from typing import Any, Final

from certwright.pki.errors import EncodingError

MAX_CERTIFICATE: Final = 64 << 10
MAX_FINDINGS: Final = 200
INSTALL: Final = "pip install 'certwright[lint]'"


class Severity(IntEnum):
    """As pkilint numbers them, the worst first."""

    FATAL = 0
    ERROR = 1
    WARNING = 2
    NOTICE = 3
    INFO = 4
    DEBUG = 5

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One rule that a certificate breaks or stretches."""

    severity: Severity
    code: str  # `pkix.no_digits_in_names`
    message: str
    where: str  # the field


class LinterMissing(Exception):
    """pkilint is not installed here; `INSTALL` is how."""


def lint_certificate(data: bytes) -> tuple[LintFinding, ...]:
    """Everything from notices upwards, the worst first.

    Raises:
        LinterMissing: pkilint is not installed.
        EncodingError: the certificate is too large for it, or it cannot read it.
    """
    if len(data) > MAX_CERTIFICATE:
        raise EncodingError(f"a certificate of {len(data)} bytes is not linted; at most {MAX_CERTIFICATE} are")
    try:
        loader, certificate, name, extension = (
            import_module(f"pkilint.{each}") for each in ("loader", "pkix.certificate", "pkix.name", "pkix.extension")
        )
    except ImportError as error:
        raise LinterMissing from error
    validator = _validator(certificate, name, extension)
    try:
        document = loader.RFC5280CertificateDocumentLoader().load_der_document(data)
        results = validator.validate(document.root)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise EncodingError(f"pkilint cannot read the certificate: {str(error)[:300]}") from error
    found = [
        LintFinding(
            Severity(int(each.finding.severity)),
            str(each.finding.code),
            str(each.message or ""),
            str(result.node.path),
        )
        for result in results
        for each in result.finding_descriptions
        if each.finding.severity <= Severity.NOTICE
    ]
    return tuple(sorted(found, key=lambda each: (each.severity, each.code))[:MAX_FINDINGS])


def _validator(certificate: Any, name: Any, extension: Any) -> Any:
    """The checks of RFC 5280; made anew each time, which takes about a millisecond."""
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
