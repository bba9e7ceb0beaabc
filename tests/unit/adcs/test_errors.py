"""HRESULTs as Windows prints them, and the exceptions that carry them. [MS-ERREF] 2.1, winerror.h."""

from __future__ import annotations

import re

import pytest

from certwright.adcs import errors
from certwright.adcs.errors import AdcsError, HResult


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (HResult.CERTSRV_E_TEMPLATE_DENIED, "0x80094012 (-2146877422 CERTSRV_E_TEMPLATE_DENIED)"),
        (HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE, "0x80094800 (-2146875392 CERTSRV_E_UNSUPPORTED_CERT_TYPE)"),
        (HResult.CERTSRV_E_NO_CERT_TYPE, "0x80094801 (-2146875391 CERTSRV_E_NO_CERT_TYPE)"),
        (HResult.E_ACCESSDENIED, "0x80070005 (-2147024891 E_ACCESSDENIED)"),
        (
            HResult.CERTSRV_E_KEY_ARCHIVAL_NOT_CONFIGURED,
            "0x8009400a (-2146877430 CERTSRV_E_KEY_ARCHIVAL_NOT_CONFIGURED)",
        ),
        (HResult.S_OK, "0x00000000 (0 S_OK)"),
    ],
)
def test_a_code_is_printed_in_the_shape_that_clients_look_for(code: HResult, text: str) -> None:
    """Eight lower-case hex digits, blank, signed decimal and symbol in parentheses."""
    assert str(code) == text
    assert f"{code}" == text


def test_every_code_is_printed_in_that_shape() -> None:
    for code in HResult:
        assert re.fullmatch(r"0x[0-9a-f]{8} \(-?\d+ [A-Z0-9_]+\)", str(code))
        assert int(code.hex, 16) == code
        assert code.signed % (1 << 32) == code


def test_failures_have_the_severity_bit_and_success_has_not() -> None:
    assert all(bool(code & 0x8000_0000) == (code is not HResult.S_OK) for code in HResult)


@pytest.mark.parametrize(
    ("name", "value"),
    [  # winerror.h
        ("CERTSRV_E_BAD_REQUESTSUBJECT", 0x80094001),
        ("CERTSRV_E_BAD_REQUESTSTATUS", 0x80094003),
        ("CERTSRV_E_PROPERTY_EMPTY", 0x80094004),
        ("CERTSRV_E_ENROLL_DENIED", 0x80094011),
        ("CERTSRV_E_ADMIN_DENIED_REQUEST", 0x80094014),
        ("CERTSRV_E_TEMPLATE_CONFLICT", 0x80094802),
        ("CERTSRV_E_BAD_TEMPLATE_VERSION", 0x80094807),
        ("CERTSRV_E_SIGNATURE_COUNT", 0x8009480A),
        ("CERTSRV_E_SUBJECT_DNS_REQUIRED", 0x8009480F),
        ("CERTSRV_E_KEY_LENGTH", 0x80094811),
        ("CERTSRV_E_SUBJECT_EMAIL_REQUIRED", 0x80094812),
        ("CERTSRV_E_SEC_EXT_DIRECTORY_SID_REQUIRED", 0x80094821),
        ("CRYPT_E_ASN1_BADTAG", 0x8009310B),
        ("CRYPT_E_INVALID_MSG_TYPE", 0x80091004),
        ("NTE_BAD_SIGNATURE", 0x80090006),
        ("ERROR_INVALID_DATA", 0x8007000D),
        ("RPC_S_SERVER_UNAVAILABLE", 0x800706BA),
    ],
)
def test_codes_have_the_values_of_winerror_h(name: str, value: int) -> None:
    assert HResult[name] == value


def test_an_error_carries_its_class_status_unless_it_is_given_one() -> None:
    assert errors.NoSuchRequest("gone").status is HResult.CERTSRV_E_PROPERTY_EMPTY
    denied = errors.AccessDenied("no", HResult.CERTSRV_E_ENROLL_DENIED)
    assert (denied.status, denied.message, str(denied)) == (HResult.CERTSRV_E_ENROLL_DENIED, "no", "no")
    assert errors.AccessDenied("no").status is HResult.E_ACCESSDENIED
    assert AdcsError("?").status is HResult.E_UNEXPECTED


def test_every_error_is_one_that_front_ends_translate() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, AdcsError) and kind("x").status != HResult.S_OK for kind in kinds)
