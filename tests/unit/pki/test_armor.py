"""Whatever form a request is pasted in, its DER comes out; of what is no request nothing does. RFC 7468."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import armor
from certwright.pki.errors import EncodingError, TooLarge
from tests.support import programs, requests

PLUSES = b"\x30\x82\x01\x01\xfb\xef" + b"\xfb\xef\xbe" * 85
"""One SEQUENCE whose base64 is nearly all plus signs, and ends in one."""
DATA = requests.make_request(
    subject=requests.name(("CN", "web.corp.example")), attributes=requests.windows_attributes()
)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def lines_of(data: bytes, width: int = 64, end: str = "\n") -> str:
    text = base64_of(data)
    return end.join(text[i : i + width] for i in range(0, len(text), width))


def pem(label: str, body: str, end: str = "\n") -> str:
    return f"-----BEGIN {label}-----{end}{body}{end}-----END {label}-----{end}"


CR = "CERTIFICATE REQUEST"

FORMS: dict[str, str | bytes] = {
    "DER": DATA,
    "PEM": pem(CR, lines_of(DATA)),
    "PEM as certreq writes it": pem(f"NEW {CR}", lines_of(DATA, end="\r\n"), "\r\n"),
    "PEM as bytes": pem(CR, lines_of(DATA)).encode(),
    "PEM after openssl's text": "Certificate Request:\n    Data:\n" + pem(CR, lines_of(DATA)),
    "PEM on one line": pem(CR, base64_of(DATA), ""),
    "PEM without a break after the header": f"-----BEGIN {CR}-----{base64_of(DATA)}-----END {CR}-----",
    "PEM whose line ends became blanks": pem(CR, lines_of(DATA, end=" "), " "),
    "PEM whose header's blanks became plus signs": pem(CR, lines_of(DATA))
    .replace("BEGIN ", "BEGIN+")
    .replace("END ", "END+")
    .replace("CERTIFICATE ", "CERTIFICATE+"),
    "PEM in lower case": pem(CR.lower(), lines_of(DATA)).replace("BEGIN", "begin").replace("END", "end"),
    "PEM without its last line": f"-----BEGIN {CR}-----\n{lines_of(DATA)}\n",
    "PEM that ends with another label": f"-----BEGIN {CR}-----\n{lines_of(DATA)}\n-----END CERTIFICATE-----",
    "indented PEM": "\n".join("    " + line for line in pem(CR, lines_of(DATA)).splitlines()),
    "PEM with blanks at line ends": pem(CR, lines_of(DATA, end="  \r\n")),
    "PEM with tabs and empty lines": pem(CR, lines_of(DATA, end="\t\n\n\t")),
    "PEM with a byte order mark": b"\xef\xbb\xbf" + pem(CR, lines_of(DATA)).encode(),
    "UTF-16 as Windows saves Unicode": pem(CR, lines_of(DATA), "\r\n").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + pem(CR, lines_of(DATA)).encode("utf-16-be"),
    "PEM with trailing NULs": pem(CR, lines_of(DATA)) + "\0\0",
    "bare base64": base64_of(DATA),
    "bare base64 in lines": lines_of(DATA),
    "bare base64 in lines of 76": lines_of(DATA, 76, "\r\n"),
    "bare base64 without padding": base64_of(DATA).rstrip("="),
    "bare base64 with too much padding": base64_of(DATA).rstrip("=") + "===",
    "bare base64 with a trailing NUL": base64_of(DATA) + "\0",
    "PEM of type CERTIFICATE": pem("CERTIFICATE", lines_of(DATA)),
    "PEM of type PKCS7": pem("PKCS7", lines_of(DATA)),
    "PEM of type CMC": pem("CMC", lines_of(DATA)),
    "PEM without a type": f"-----BEGIN-----\n{lines_of(DATA)}\n-----END-----",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_sloppy_form_is_read(form: str) -> None:
    assert armor.dearmor(FORMS[form]) == DATA


LOST_PLUSES: dict[str, str] = {
    "on one line": base64_of(PLUSES),
    "in lines": lines_of(PLUSES),
    "in lines of 76": lines_of(PLUSES, 76, "\r\n"),
    "in PEM": pem(CR, lines_of(PLUSES)),
    "in PEM on one line": pem(CR, base64_of(PLUSES), ""),
    "without padding": base64_of(PLUSES).rstrip("="),
}


@pytest.mark.parametrize("form", LOST_PLUSES)
def test_plus_signs_that_a_form_lost_are_found_again(form: str) -> None:
    """A form that forgets to escape turns `+` into a blank."""
    assert "+" in LOST_PLUSES[form]
    assert armor.dearmor(LOST_PLUSES[form].replace("+", " ")) == PLUSES


@pytest.mark.parametrize("width", [64, 76])
def test_lost_plus_signs_are_told_from_lost_line_ends(width: int) -> None:
    """Both became blanks: where each line's end must have been tells them apart."""
    data = requests.make_request(subject=requests.name(("CN", "\u03fb" * 60)))
    text = lines_of(data, width, " ")
    assert "+" in text
    assert armor.dearmor(text.replace("+", " ")) == data
    assert armor.dearmor(pem(CR, text, " ").replace("+", " ")) == data


def test_a_plus_sign_lost_at_the_start_of_a_line_is_not_indentation() -> None:
    data = PLUSES
    assert any(line.startswith("+") for line in lines_of(data).splitlines()[1:])
    assert armor.dearmor(lines_of(data).replace("+", " ")) == data


def test_a_plus_sign_lost_in_an_indented_line_is_found() -> None:
    data = requests.sequence(requests.octets(b"\x00\x0f\xb0" * 60))
    text = "\n".join("    " + line for line in lines_of(data).splitlines())
    assert "+" in text
    assert not any(line.strip().startswith("+") for line in text.splitlines())
    assert armor.dearmor(text.replace("+", " ")) == data


@given(st.binary(min_size=1, max_size=400), st.sampled_from([64, 76, 10_000]), st.booleans(), st.booleans())
@settings(max_examples=200)
def test_any_value_is_read_in_any_layout_with_or_without_plus_signs(
    content: bytes, width: int, header: bool, lost: bool
) -> None:
    data = requests.sequence(requests.octets(content))
    text = lines_of(data, width)
    text = text.replace("+", " ") if lost else text
    assert armor.dearmor(pem(CR, text) if header else text) == data


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("", "empty"),
        (b"\0 \r\n", "empty"),
        ("\ufeff", "empty"),
        ("hello", "does not decode"),
        ("żółć", "does not decode"),
        (b"\xff\xfe\x00", "neither"),
        (b"\x80abc", "neither"),
        (pem(CR, ""), "does not decode"),
        (pem(CR, lines_of(DATA)[:-40]), "does not decode"),
        (base64_of(DATA + b"\0"), "does not decode"),
        (base64_of(b"\x31\x00"), "does not decode"),
        (DATA + b"\0", "follow its end"),
        (DATA[:-1], "longer than"),
        (pem(CR, lines_of(DATA)) * 2, "found 2"),
        (pem("PUBLIC KEY", lines_of(DATA)), "PUBLIC KEY"),
    ],
)
def test_what_is_no_single_der_value_is_refused(form: str | bytes, reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        armor.dearmor(form)


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_somebody_who_pastes_a_private_key_is_told_so(label: str) -> None:
    for text in (pem(label, lines_of(DATA)), pem(label, lines_of(DATA)) + pem(CR, lines_of(DATA))):
        with pytest.raises(EncodingError, match="private key"):
            armor.dearmor(text)


def test_input_beyond_the_limit_is_refused_unread() -> None:
    for form in ("A" * 65537, b"0" * 65537):
        with pytest.raises(TooLarge):
            armor.dearmor(form)
    with pytest.raises(TooLarge):
        armor.dearmor(base64_of(DATA), limit=100)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN A-----" * 3800,
        "-----BEGIN CERTIFICATE-----" + "-----" * 12000,
        "-----" * 13000,
        "- " * 32000,
        "-----BEGIN" + " " * 65000,
        " " * 65000 + "x",
        ("a" * 64 + " ") * 1000,
        "+" * 65000,
    ],
)
def test_no_input_takes_long(text: str) -> None:
    started = time.process_time()
    with pytest.raises(EncodingError):
        armor.dearmor(text)
    assert time.process_time() - started < 0.5


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
@settings(max_examples=300)
def test_arbitrary_input_raises_only_encoding_errors(data: bytes | str) -> None:
    try:
        armor.dearmor(data)
    except EncodingError:
        return


# -- BER -------------------------------------------------------------------------------------------------------------


def test_ber_of_indefinite_length_is_taken_where_it_is_asked_for() -> None:
    """X.690 8.1.3.6: how some CMS writers stream."""
    streamed = b"\x30\x80\x04\x02ab\x00\x00"
    for form in (streamed, base64_of(streamed), pem("PKCS7", lines_of(streamed))):
        assert armor.dearmor(form, indefinite=True) == streamed
        with pytest.raises(EncodingError):
            armor.dearmor(form)
    with pytest.raises(EncodingError):
        armor.dearmor(streamed[:-1], indefinite=True)


def test_plus_signs_lost_in_ber_are_found_again() -> None:
    streamed = b"\x30\x80\x04\x05" + b"\x01\x02\xfb\xef\xbe" + b"\x00\x00"
    assert "+" in base64_of(streamed)
    assert armor.dearmor(base64_of(streamed).replace("+", " "), indefinite=True) == streamed


# -- writing ---------------------------------------------------------------------------------------------------------


def test_openssl_reads_the_pem_we_write() -> None:
    text = armor.armor(armor.CERTIFICATE_REQUEST, DATA)
    assert "CN = web.corp.example" in programs.openssl("req", "-noout", "-subject", data=text.encode())
    assert text == pem(CR, lines_of(DATA))
    assert armor.armor(armor.NEW_CERTIFICATE_REQUEST, DATA, "\r\n") == pem(
        "NEW " + CR, lines_of(DATA, end="\r\n"), "\r\n"
    )
