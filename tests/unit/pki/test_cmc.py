"""CMC full requests and responses: what Windows sends and AD CS answers. RFC 5272; [MS-WCCE] 2.2.2.6, 2.2.2.8."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der import decoder, encoder
from pyasn1_alt_modules import rfc6402

from certwright.pki import cmc, der, oids
from certwright.pki.cmc import CmcStatus, Control, PkiData, PkiResponse
from certwright.pki.errors import EncodingError, TooLarge
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.public_keys import load_public_key
from certwright.pki.signed_data import SignedData
from tests.support.requests import make_request

VECTORS = Path(__file__).parents[2] / "vectors" / "cms"
ISSUED = (
    "306D3067302102010106082B06010505070701311230100201003003020101 0C06497373756564"
    "3042020102060A2B0601040182370A0A01 3131302F0201003003020101 3125302306092B0601040182371511"
    "3116 0414{hash} 30003000"
)


def vector(name: str) -> SignedData:
    return SignedData.parse((VECTORS / f"{name}.der").read_bytes())


def other_library(data: bytes, spec: Any) -> Any:
    value, rest = decoder.decode(data, asn1Spec=spec)
    assert rest == b""
    assert encoder.encode(value) == data
    return value


# -- requests --------------------------------------------------------------------------------------------------------


def test_a_request_as_windows_sends_it() -> None:
    """One PKCS#10, signed with its own key; the template in the registration information."""
    message = vector("cmc-request")
    assert message.content_type == oids.CMC_PKI_DATA
    data = PkiData.parse(message.content or b"")
    ((part, raw),) = data.requests
    request = CertificationRequest.parse(raw)

    message.verify(message.signers[0], load_public_key(request.public_key.der))

    assert part == 1
    assert data.registration_information() == (("CertificateTemplate", "ExampleWebServer"),)
    assert data.encode() == message.content


def test_the_other_library_reads_what_we_write() -> None:
    request = make_request()
    made = PkiData((cmc.registration_information(2, (("CertificateTemplate", "Web"),)),), ((7, request),)).encode()

    value = other_library(made, rfc6402.PKIData())

    assert int(value["reqSequence"][0]["tcr"]["bodyPartID"]) == 7
    assert str(value["controlSequence"][0]["attrType"]) == oids.CMC_REG_INFO
    assert PkiData.parse(made).requests == ((7, request),)


def test_requests_of_other_kinds_are_counted_not_read() -> None:
    crmf = der.tlv(0xA1, der.integer(1))
    made = der.sequence(der.sequence(), der.sequence(crmf), der.sequence(), der.sequence())
    assert PkiData.parse(made) == PkiData((), (), other_requests=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CertificateTemplate=Web", [("CertificateTemplate", "Web")]),
        ("a=1&b=2&", [("a", "1"), ("b", "2")]),
        (" a = 1 &nothing&=x&c=", [("a", "1"), ("c", "")]),
        ("san=dns=a.example", [("san", "dns=a.example")]),
        ("name=Grüße\0", [("name", "Grüße")]),
    ],
)
def test_registration_information_is_pairs(text: str, expected: list[tuple[str, str]]) -> None:
    assert cmc.parse_registration_information(der.octet_string(text.encode())) == expected


def test_registration_information_that_is_none_is_refused() -> None:
    with pytest.raises(EncodingError):
        cmc.parse_registration_information(der.utf8("a=b"))
    with pytest.raises(EncodingError, match="UTF-8"):
        cmc.parse_registration_information(der.octet_string(b"\xff=1"))
    with pytest.raises(TooLarge):
        cmc.parse_registration_information(der.octet_string(b"a" * (cmc.MAX_REG_INFO + 1)))
    with pytest.raises(ValueError, match="cannot be written"):
        cmc.registration_information(1, (("a", "1&CertificateTemplate=Other"),))


def test_added_attributes_belong_to_the_request_they_name() -> None:
    """szOID_CMC_ADD_ATTRIBUTES. [MS-WCCE] 2.2.2.6.3."""
    attribute = der.sequence(der.oid(oids.OS_VERSION), der.set_of(der.ia5("10.0")))
    added = der.sequence(der.integer(0), der.sequence(der.integer(5)), der.set_of(attribute))
    data = PkiData((Control(3, oids.CMC_ADD_ATTRIBUTES, (added,)),), ((5, make_request()),))

    assert [each.oid for each in data.added_attributes(5)] == [oids.OS_VERSION]
    assert data.added_attributes(6) == ()


def test_controls_and_requests_are_bounded() -> None:
    many = Control(1, oids.CMC_REG_INFO, (der.octet_string(b"a=b"),))
    with pytest.raises(TooLarge):
        PkiData.parse(PkiData((many,) * (cmc.MAX_CONTROLS + 1), ()).encode())
    request = make_request()
    with pytest.raises(TooLarge):
        PkiData.parse(PkiData((), tuple((number, request) for number in range(cmc.MAX_REQUESTS + 1))).encode())
    with pytest.raises(EncodingError, match="body part"):
        PkiData.parse(PkiData((), ((1 << 32, request),)).encode())


# -- responses -------------------------------------------------------------------------------------------------------


def test_an_issued_response_is_the_111_octets_of_ad_cs() -> None:
    """[MS-WSTEP] 4.1.1.2, decoded."""
    made = PkiResponse(CmcStatus.SUCCESS, "Issued", certificate_hash=bytes(range(20))).encode()

    assert made.hex().upper() == ISSUED.replace(" ", "").format(hash=bytes(range(20)).hex().upper())
    other_library(made, rfc6402.PKIResponse())


@pytest.mark.parametrize("name", ["issued-response", "pending-response"])
def test_the_examples_are_read_verified_and_written_again(name: str) -> None:
    message = vector(name)
    certificate = message.certificate_of(message.signers[0])
    assert certificate is not None

    message.verify(message.signers[0], load_public_key(certificate.public_key_info))
    response = PkiResponse.parse(message.content or b"")

    assert message.content_type == oids.CMC_PKI_RESPONSE
    assert response.encode() == message.content


@pytest.mark.parametrize(
    "response",
    [
        PkiResponse(CmcStatus.SUCCESS, "Issued", (7,), certificate_hash=b"\1" * 20),
        PkiResponse(
            CmcStatus.PENDING, "Taken", pend_token=b"\5\0\0\0", pend_time=datetime(2026, 1, 2, 3, tzinfo=UTC)
        ),
        PkiResponse(CmcStatus.PENDING, "", pend_token=b"\5", pend_time=datetime(2060, 1, 2, tzinfo=UTC)),
        PkiResponse(CmcStatus.FAILED, "Denied by Policy Module  0x80094012", fail_info=2),
        PkiResponse(CmcStatus.FAILED, ""),
    ],
)
def test_responses_come_back_as_they_were(response: PkiResponse) -> None:
    made = response.encode()
    assert PkiResponse.parse(made) == response
    other_library(made, rfc6402.PKIResponse())


def test_a_response_without_status_or_with_an_unknown_one_is_refused() -> None:
    with pytest.raises(EncodingError, match="no status"):
        PkiResponse.parse(der.sequence(der.sequence(), der.sequence(), der.sequence()))
    made = PkiResponse(CmcStatus.FAILED, "").encode().replace(b"\x02\x01\x02\x30", b"\x02\x01\x09\x30")
    with pytest.raises(EncodingError, match="9 is not known"):
        PkiResponse.parse(made)


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    for parse in (PkiData.parse, PkiResponse.parse):
        with pytest.raises(EncodingError):
            parse(data)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_request_with_a_wrong_octet_is_read_or_refused(place: int, change: int) -> None:
    made = bytearray(vector("cmc-request").content or b"")
    made[place % len(made)] ^= change
    try:
        data = PkiData.parse(bytes(made))
        data.registration_information()
        data.added_attributes(1)
    except EncodingError:
        pass
