"""Why a request cannot be read: row 30 of the request table, never a decision. [MS-WCCE] 3.2.1.4.2.1.4.1."""

from __future__ import annotations

from typing import Final

from certwright.adcs.errors import AdcsError, HResult
from certwright.pki.errors import DuplicateAttribute, EncodingError, TooLarge

MAX_REQUEST: Final = 65536
"""Longest request in bytes, as it arrives."""

PARSING: Final = "Error Parsing Request"
VERIFYING: Final = "Error Verifying Request Signature or Signing Certificate"
ARCHIVING: Final = "Error Archiving Private Key"


class IntakeError(AdcsError):
    """A request that cannot be read or does not prove possession of its key: row 30, never a decision.

    `disposition_message` begins with the words Windows has for the step that failed.
    """

    def __init__(self, message: str, status: HResult, step: str = PARSING) -> None:
        super().__init__(message.replace('"', "'"), status)  # clients find the message between double quotes
        self.status: HResult = status
        self.step = step

    @property
    def disposition_message(self) -> str:
        return f"{self.step}  {self.status.hex}, {self.message}"


def unreadable(error: EncodingError) -> IntakeError:
    """What a parser refused, with the code that Windows has for it."""
    match error:
        case TooLarge():
            status = HResult.CERTSRV_E_ENCODING_LENGTH
        case DuplicateAttribute():
            status = HResult.ERROR_INVALID_DATA
        case _:
            status = HResult.CRYPT_E_ASN1_BADTAG
    return IntakeError(str(error), status)
