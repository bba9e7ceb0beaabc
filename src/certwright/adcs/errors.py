"""HRESULTs and the exceptions that carry them. [MS-ERREF] 2.1, [MS-WCCE] 2.2.4, winerror.h.

A decision about a request is a `Response`; what fails before a request ID exists is an `AdcsError`.
Every front end has exactly one place that turns `AdcsError` into its own dialect.
"""

from __future__ import annotations

from enum import IntEnum


class HResult(IntEnum):
    """The result codes our CA returns or meets, by their winerror.h symbols."""

    S_OK = 0x00000000
    E_ACCESSDENIED = 0x80070005
    E_UNEXPECTED = 0x8000FFFF
    E_INVALIDARG = 0x80070057
    ERROR_FILE_NOT_FOUND = 0x80070002
    ERROR_INVALID_DATA = 0x8007000D
    ERROR_NOT_SUPPORTED = 0x80070032
    ERROR_BUSY = 0x800700AA
    ERROR_TIMEOUT = 0x800705B4
    RPC_S_SERVER_UNAVAILABLE = 0x800706BA
    NTE_BAD_SIGNATURE = 0x80090006
    CRYPT_E_INVALID_MSG_TYPE = 0x80091004
    CRYPT_E_NO_SIGNER = 0x8009200E
    CRYPT_E_REVOKED = 0x80092010
    CRYPT_E_NO_REVOCATION_CHECK = 0x80092012
    CRYPT_E_REVOCATION_OFFLINE = 0x80092013
    CRYPT_E_ASN1_BADTAG = 0x8009310B
    CERTSRV_E_BAD_REQUESTSUBJECT = 0x80094001
    CERTSRV_E_NO_REQUEST = 0x80094002
    CERTSRV_E_BAD_REQUESTSTATUS = 0x80094003
    CERTSRV_E_PROPERTY_EMPTY = 0x80094004
    CERTSRV_E_INVALID_CA_CERTIFICATE = 0x80094005
    CERTSRV_E_SERVER_SUSPENDED = 0x80094006
    CERTSRV_E_ENCODING_LENGTH = 0x80094007
    CERTSRV_E_ROLECONFLICT = 0x80094008
    CERTSRV_E_RESTRICTEDOFFICER = 0x80094009
    CERTSRV_E_KEY_ARCHIVAL_NOT_CONFIGURED = 0x8009400A
    CERTSRV_E_NO_VALID_KRA = 0x8009400B
    CERTSRV_E_BAD_REQUEST_KEY_ARCHIVAL = 0x8009400C
    CERTSRV_E_NO_CAADMIN_DEFINED = 0x8009400D
    CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE = 0x8009400E
    CERTSRV_E_NO_DB_SESSIONS = 0x8009400F
    CERTSRV_E_ALIGNMENT_FAULT = 0x80094010
    CERTSRV_E_ENROLL_DENIED = 0x80094011
    CERTSRV_E_TEMPLATE_DENIED = 0x80094012
    CERTSRV_E_DOWNLEVEL_DC_SSL_OR_UPGRADE = 0x80094013
    CERTSRV_E_ADMIN_DENIED_REQUEST = 0x80094014
    CERTSRV_E_NO_POLICY_SERVER = 0x80094015
    CERTSRV_E_WEAK_SIGNATURE_OR_KEY = 0x80094016
    CERTSRV_E_KEY_ATTESTATION_NOT_SUPPORTED = 0x80094017
    CERTSRV_E_ENCRYPTION_CERT_REQUIRED = 0x80094018
    CERTSRV_E_UNSUPPORTED_CERT_TYPE = 0x80094800
    CERTSRV_E_NO_CERT_TYPE = 0x80094801
    CERTSRV_E_TEMPLATE_CONFLICT = 0x80094802
    CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED = 0x80094803
    CERTSRV_E_ARCHIVED_KEY_REQUIRED = 0x80094804
    CERTSRV_E_SMIME_REQUIRED = 0x80094805
    CERTSRV_E_BAD_RENEWAL_SUBJECT = 0x80094806
    CERTSRV_E_BAD_TEMPLATE_VERSION = 0x80094807
    CERTSRV_E_TEMPLATE_POLICY_REQUIRED = 0x80094808
    CERTSRV_E_SIGNATURE_POLICY_REQUIRED = 0x80094809
    CERTSRV_E_SIGNATURE_COUNT = 0x8009480A
    CERTSRV_E_SIGNATURE_REJECTED = 0x8009480B
    CERTSRV_E_ISSUANCE_POLICY_REQUIRED = 0x8009480C
    CERTSRV_E_SUBJECT_UPN_REQUIRED = 0x8009480D
    CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED = 0x8009480E
    CERTSRV_E_SUBJECT_DNS_REQUIRED = 0x8009480F
    CERTSRV_E_ARCHIVED_KEY_UNEXPECTED = 0x80094810
    CERTSRV_E_KEY_LENGTH = 0x80094811
    CERTSRV_E_SUBJECT_EMAIL_REQUIRED = 0x80094812
    CERTSRV_E_UNKNOWN_CERT_TYPE = 0x80094813
    CERTSRV_E_CERT_TYPE_OVERLAP = 0x80094814
    CERTSRV_E_TOO_MANY_SIGNATURES = 0x80094815
    CERTSRV_E_RENEWAL_BAD_PUBLIC_KEY = 0x80094816
    CERTSRV_E_INVALID_EK = 0x80094817
    CERTSRV_E_KEY_ATTESTATION = 0x8009481A
    CERTSRV_E_SEC_EXT_DIRECTORY_SID_REQUIRED = 0x80094821
    CERT_E_EXPIRED = 0x800B0101
    CERT_E_UNTRUSTEDROOT = 0x800B0109
    CERT_E_CHAINING = 0x800B010A
    CERT_E_REVOKED = 0x800B010C
    CERT_E_WRONG_USAGE = 0x800B0110

    @property
    def signed(self) -> int:
        """The code as the signed 32-bit number that Windows prints beside it."""
        return self.value - 0x1_0000_0000 if self.value & 0x8000_0000 else self.value

    @property
    def hex(self) -> str:
        return f"0x{self.value:08x}"

    def __str__(self) -> str:
        """`0x80094012 (-2146877422 CERTSRV_E_TEMPLATE_DENIED)`: the exact shape clients' regexes need."""
        return f"{self.hex} ({self.signed} {self.name})"


class AdcsError(Exception):
    """Something failed before it became a decision about a request.

    Args:
        status: why, as the caller's protocol will report it.
        message: one sentence for a person: what was refused, by which rule, what would be accepted.
    """

    status = HResult.E_UNEXPECTED

    def __init__(self, message: str, status: HResult | None = None) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status


class AccessDenied(AdcsError):
    """The caller does not hold the right the call needs."""

    status = HResult.E_ACCESSDENIED


class BadRequest(AdcsError):
    """The bytes or arguments handed in cannot be understood."""

    status = HResult.ERROR_INVALID_DATA


class InvalidArgument(AdcsError):
    """An argument names something that does not exist or may not have this value."""

    status = HResult.E_INVALIDARG


class NoSuchRequest(AdcsError):
    """No such request ID or serial number, or one of somebody else: the two must look alike."""

    status = HResult.CERTSRV_E_PROPERTY_EMPTY


class BadRequestState(AdcsError):
    """The request is not in a state in which this can be done."""

    status = HResult.CERTSRV_E_BAD_REQUESTSTATUS


class NotSupported(AdcsError):
    """This CA, or this way of reaching it, does not offer the operation."""

    status = HResult.ERROR_NOT_SUPPORTED


class CaUnreachable(AdcsError):
    """The request never reached a CA (or it could not answer in time)."""

    status = HResult.RPC_S_SERVER_UNAVAILABLE


class ConfigurationError(AdcsError):
    """A setting is wrong; the message says which one and what to change it to."""

    status = HResult.E_INVALIDARG
