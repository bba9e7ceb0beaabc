"""The attributes string and the flags of a submission. [MS-WCCE] 3.2.1.4.2.1.2, 3.2.1.4.3.1.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import HResult
from certwright.adcs.request import (
    MAX_ATTRIBUTES_LENGTH,
    NO_ATTRIBUTES,
    Disposition,
    RequestAttributes,
    RequestFlags,
    Response,
    template_attributes,
)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("CertificateTemplate:User", (("CertificateTemplate", "User"),)),
        ("CertificateTemplate:User\nrmd:pc1\n", (("CertificateTemplate", "User"), ("rmd", "pc1"))),
        ("CertificateTemplate:User\r\nrmd:pc1\r\n", (("CertificateTemplate", "User"), ("rmd", "pc1"))),
        ("  Certificate-Template :  User  ", (("CertificateTemplate", "User"),)),
        ("Certificate Template:User", (("CertificateTemplate", "User"),)),
        ("-certificate--template-: User Signature ", (("certificatetemplate", "User Signature"),)),
        ("SAN:dns=a.example&dns=b.example", (("SAN", "dns=a.example&dns=b.example"),)),
        ("ExpirationDate:Tue, 21 Nov 2000 01:06:53 GMT", (("ExpirationDate", "Tue, 21 Nov 2000 01:06:53 GMT"),)),
        ("CertificateTemplate:User\0", (("CertificateTemplate", "User"),)),  # NUL-terminated over RPC
        ("Name:", (("Name", ""),)),
        ("", ()),
        ("\n\r\n", ()),
        ("no colon", ()),
        (":value without a name", ()),
        ("- -:value", ()),
        ("bad line\nCertificateTemplate:User\nanother bad one", (("CertificateTemplate", "User"),)),
    ],
)
def test_lines_are_read_as_windows_reads_them(text: str, items: tuple[tuple[str, str], ...]) -> None:
    assert RequestAttributes.parse(text).items == items


def test_the_first_of_several_values_counts_and_names_ignore_case() -> None:
    attributes = RequestAttributes.parse("certificateTEMPLATE:User\nCertificateTemplate:Machine")
    assert attributes.get("CertificateTemplate") == "User"
    assert list(attributes.all("certificatetemplate")) == ["User", "Machine"]
    assert attributes.get("rmd") is None


def test_a_string_longer_than_the_interface_takes_is_refused() -> None:
    """[MS-WCCE] 3.2.1.4.2.1: range(1, 1536)."""
    RequestAttributes.parse("a:" + "x" * (MAX_ATTRIBUTES_LENGTH - 2))
    with pytest.raises(ValueError, match="1536"):
        RequestAttributes.parse("a:" + "x" * (MAX_ATTRIBUTES_LENGTH - 1))


@given(st.text(max_size=200))
def test_what_was_read_is_written_so_that_it_reads_the_same(text: str) -> None:
    attributes = RequestAttributes.parse(text)
    assert RequestAttributes.parse(str(attributes)) == attributes


def test_a_client_asks_for_a_template_by_its_name() -> None:
    attributes = template_attributes("WebServer", ("rmd", "pc1"))
    assert str(attributes) == "CertificateTemplate:WebServer\nrmd:pc1"
    assert str(NO_ATTRIBUTES) == ""


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, RequestFlags.DETECT),
        (0x0004_0100, RequestFlags.PKCS10),
        (0x300, RequestFlags.CMS),
        (0x0028_0400, RequestFlags.CMC),
        (0xFF, RequestFlags.DETECT),  # CR_IN_ENCODEMASK is for the local interface
    ],
)
def test_the_format_stands_in_bits_8_to_15(value: int, kind: RequestFlags) -> None:
    assert RequestFlags(value).request_type == kind


def test_dispositions_have_their_numbers_on_the_wire() -> None:
    """CR_DISP_* of certsrv.h; the request table numbers differently."""
    assert {d.name: d.value for d in Disposition} == {
        "INCOMPLETE": 0,
        "ERROR": 1,
        "DENIED": 2,
        "ISSUED": 3,
        "ISSUED_OUT_OF_BAND": 4,
        "UNDER_SUBMISSION": 5,
        "REVOKED": 6,
    }
    issued = [d for d in Disposition if Response(1, d, HResult.S_OK, "").is_issued]
    assert issued == [Disposition.ISSUED, Disposition.ISSUED_OUT_OF_BAND]
