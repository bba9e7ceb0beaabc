"""Columns of a request row and the words in them, and how roles and serial numbers are read: values only."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.roles import ROLE_NAMES, CaAccess
from certwright.ca.database import CertificateRecord
from certwright.ca.policy.base import Deny

if TYPE_CHECKING:
    from certwright.ca.generation import CaGeneration
    from certwright.ca.issuance.signing import PreparedCertificate
    from certwright.ca.submissions import Submission

_SEPARATED = (CaAccess.ADMINISTRATOR, CaAccess.OFFICER, CaAccess.AUDITOR, CaAccess.OPERATOR)
ALL_SEPARATED = CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR | CaAccess.OPERATOR


def separated_roles(access: CaAccess) -> tuple[str, ...]:
    """Names of the roles held, of those that role separation keeps apart. [MS-CSRA] 3.1.1.7."""
    return tuple(ROLE_NAMES[role] for role in _SEPARATED if access & role)


def renewed_serial_number(submission: Submission) -> dict[str, str]:
    """For the audit trail: which certificate this one takes the place of; nothing where it is none's."""
    renewed = submission.message.renewed if submission.message is not None else None
    return {} if renewed is None else {"renewed_serial_number": renewed.certificate.serial_number}


def denial_message(verdict: Deny) -> str:
    """`Denied by Policy Module  0x80094012, ...`: two blanks, lowercase code; clients rely on both."""
    return f"Denied by Policy Module  {verdict.status.hex}, {verdict.reason}"


def certificate_columns(
    prepared: PreparedCertificate, certificate: bytes, generation: CaGeneration
) -> CertificateRecord:
    """The certificate columns of a row, from what was signed."""
    facts = prepared.facts
    return CertificateRecord(
        serial_number=facts.serial_number,
        not_before=facts.not_before,
        not_after=facts.not_after,
        subject_key_identifier=facts.subject_key_identifier,
        sha1=hashlib.sha1(certificate, usedforsecurity=False).hexdigest(),
        ca_certificate_index=generation.signer.certificate_index,
        ca_key_index=generation.signer.key_index,
        crl_partition=prepared.partition,
    )


def normal_serial(text: str) -> str:
    """A serial number as people write it (blanks, colons, capitals, 0x) -> lowercase hex of whole octets.

    Raises:
        InvalidArgument: not a hexadecimal number.
    """
    digits = text.replace(" ", "").replace(":", "").lower().removeprefix("0x")
    if not digits or len(digits) > 42 or any(c not in "0123456789abcdef" for c in digits):
        raise InvalidArgument(f"{text!r} is not a serial number in hexadecimal")
    digits = digits.lstrip("0") or "0"
    return digits.zfill(len(digits) + len(digits) % 2)
