"""The fourteen fields of a template option, both ways."""

from __future__ import annotations

import html.parser
import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import BadRequest
from certwright.adcs.template import EnrollmentFlag, NameFlag, PrivateKeyFlag
from certwright.wire.certsrv.options import FIELDS, TemplateOption
from tests.support.fake_directory import make_template

WEB_SERVER = make_template(
    "WebServer",
    display_name="Web Server",
    schema_version=1,
    major_version=4,
    minor_version=1,
    name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT,
    default_csps=(
        "1,Microsoft RSA SChannel Cryptographic Provider",
        "2,Microsoft DH SChannel Cryptographic Provider",
    ),
)
SMART = make_template(
    "CorpSmart",
    display_name="Corp Smart Card",
    enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS,
    private_key_flag=PrivateKeyFlag.EXPORTABLE_KEY | PrivateKeyFlag.STRONG_KEY_PROTECTION_REQUIRED,
    name_flag=NameFlag.ALT_REQUIRE_UPN,
    minimal_key_size=4096,
    ra_signatures=1,
    validity_period=timedelta(days=30),
)


def test_a_schema_1_template_is_written_field_by_field() -> None:
    assert TemplateOption.from_template(WEB_SERVER).to_html() == (
        '<Option Value="O;WebServer;1;134217728;0;0;1;0;'
        "Microsoft RSA SChannel Cryptographic Provider?Microsoft DH SChannel Cryptographic Provider;;4;;;"
        'Web Server">Web Server'
    )


def test_a_schema_2_template_carries_oid_and_minor_version() -> None:
    fields = TemplateOption.from_template(SMART).encode().split(";")

    assert fields[:2] == ["E", "CorpSmart"]
    assert int(fields[3]) == (4096 << 16) | 1 | 2
    assert fields[4] == str(int(EnrollmentFlag.PEND_ALL_REQUESTS))
    assert fields[7] == "1"
    assert fields[9] == SMART.oid
    assert fields[10:13] == ["100", "1", "2"]


def test_option_reads_back_as_written() -> None:
    option = TemplateOption.from_template(SMART)

    assert TemplateOption.parse(option.encode(), "Corp Smart Card") == option
    assert option.minimal_key_size == 4096


@given(
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    display=st.text(st.characters(codec="utf-8"), max_size=40),
)
def test_no_name_breaks_out_of_its_field_or_its_tag(name: str, display: str) -> None:
    """Fourteen fields, one tag, nothing a browser or a line-wise expression could misread."""
    markup = TemplateOption(name=name, display_name=display, supplies_subject=False).to_html()

    found = re.fullmatch(r'<Option Value="([^"<>\r\n]*)">([^<>\r\n]*)', markup)
    assert found is not None
    parser = _Options()
    parser.feed(f"<select>{markup}</select>")
    assert len(parser.values) == 1
    assert len(parser.values[0].split(";")) >= FIELDS


@given(st.text(st.sampled_from("abAB &#;lt\"'<>x"), min_size=1, max_size=12))
def test_an_ampersand_survives_a_browser(name: str) -> None:
    """What a browser decodes is the name, without what no field can carry."""
    markup = TemplateOption(name=name, display_name="x", supplies_subject=False).to_html()
    parser = _Options()
    parser.feed(f"<select>{markup}</select>")

    assert parser.values[0].split(";")[1] == re.sub(r"[;\"<>]+", "", name).strip()


@pytest.mark.parametrize(
    ("value", "text", "name", "display", "supplies"),
    [
        ("O;WebServer", "Web Server", "WebServer", "Web Server", True),
        ("E;User;1;134217729;41;16;2785017856;0;CSP;;3;;;Benutzer", "", "User", "Benutzer", False),
        ("E;Odd;1;0;0;0;1;0", "Odd", "Odd", "Odd", True),  # field 6 says what field 0 does not
        ("WebServer", "", "WebServer", "WebServer", False),
        ("O;R&amp;D;1", "R&amp;D  Server", "R&D", "R&D Server", True),
        ("E;Kullanıcı;1;x;;-2147483648", "Kullanıcı Sertifikası", "Kullanıcı", "Kullanıcı Sertifikası", False),
    ],
)
def test_parsing_is_tolerant(value: str, text: str, name: str, display: str, supplies: bool) -> None:
    option = TemplateOption.parse(value, text)

    assert (option.name, option.display_name, option.supplies_subject) == (name, display, supplies)


def test_flags_written_as_signed_numbers_are_read_as_unsigned() -> None:
    assert TemplateOption.parse("E;User;1;0;0;0;-1509949440").name_flags == 0xA600_0000


@pytest.mark.parametrize("value", ["", "E;", "E;a\x01b;1", "E; ;1", "E;a&#10;b", "x" * 9000])
def test_a_value_without_a_usable_name_is_refused(value: str) -> None:
    with pytest.raises(BadRequest):
        TemplateOption.parse(value)


class _Options(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "option":
            self.values.append(dict(attrs)["value"] or "")
