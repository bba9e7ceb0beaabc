"""The template list of certrqxt.asp: one `<Option>` a line, fourteen fields in its value.

Names and order of the fields are those two public tools agree on; numbers are written in decimal. Relay checkers and
scrapers read the lines with regular expressions, so the tag is written exactly `<Option Value="...">Text`.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

from certwright.adcs.errors import BadRequest
from certwright.adcs.template import CertificateTemplate, PrivateKeyFlag

SELECT_NAME: Final = "lbCertTemplate"
SELECT_ID: Final = "lbCertTemplateID"
FIELDS: Final = 14
MAX_VALUE: Final = 8192
"""Longest option value read, in characters."""

_SUPPLIED_IN_REQUEST: Final = "O"
_FROM_DIRECTORY: Final = "E"
_CSP_SEPARATOR: Final = "?"
_EXPORTABLE: Final = 0x1
_USER_PROTECTED: Final = 0x2
_ENROLLEE_SUPPLIES_SUBJECT: Final = 0x1

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_IN_A_FIELD: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029;\"<>]+")
_LIKE_A_REFERENCE: Final = re.compile(r"&(?=[#A-Za-z0-9])")
_CSP_ORDER: Final = re.compile(r"^\d{1,4},")


@dataclass(frozen=True, slots=True)
class TemplateOption:
    """One certificate template as the page offers it."""

    name: str  # cn
    display_name: str
    supplies_subject: bool  # O: the request carries the subject; E: the directory does
    key_spec: int = 1
    key_flags: int = 0  # as CryptGenKey takes them: minimum size in the upper word
    enrollment_flags: int = 0
    private_key_flags: int = 0
    name_flags: int = 0
    ra_signatures: int = 0
    providers: tuple[str, ...] = ()
    oid: str = ""  # empty for schema 1
    major_version: int = 0
    minor_version: int | None = None

    @classmethod
    def from_template(cls, template: CertificateTemplate) -> TemplateOption:
        """The option of a template of the directory."""
        key_flags = template.minimal_key_size << 16 if 0 < template.minimal_key_size <= 0xFFFF else 0
        if PrivateKeyFlag.EXPORTABLE_KEY in template.private_key_flag:
            key_flags |= _EXPORTABLE
        if PrivateKeyFlag.STRONG_KEY_PROTECTION_REQUIRED in template.private_key_flag:
            key_flags |= _USER_PROTECTED
        schema_1 = template.schema_version < 2
        return cls(
            name=template.cn,
            display_name=template.display_name or template.cn,
            supplies_subject=template.enrollee_supplies_subject,
            key_spec=template.default_key_spec,
            key_flags=key_flags,
            enrollment_flags=int(template.enrollment_flag),
            private_key_flags=int(template.private_key_flag),
            name_flags=int(template.name_flag),
            ra_signatures=template.ra_signatures,
            providers=tuple(_CSP_ORDER.sub("", provider) for provider in template.default_csps),
            oid="" if schema_1 else template.oid,
            major_version=template.major_version,
            minor_version=None if schema_1 else template.minor_version,
        )

    @classmethod
    def parse(cls, value: str, text: str = "") -> TemplateOption:
        """Read an option's value and text, both still HTML, as leniently as pages of several versions need it.

        Two fields are enough; without any semicolon the whole value is the template's name; a number that is none
        counts as 0.

        Raises:
            BadRequest: too long, no name, or a name with control characters.
        """
        if len(value) > MAX_VALUE:
            raise BadRequest(f"a template option is longer than {MAX_VALUE} characters")
        fields = html.unescape(value).split(";")
        if len(fields) == 1:
            fields = ["", fields[0]]
        name = fields[1].strip(" \t\r\n")
        if not name or _CONTROLS.search(name):
            raise BadRequest("a template option names no template")
        fields += [""] * (FIELDS - len(fields))
        name_flags = _number(fields[6])
        display = " ".join(html.unescape(text).split()) or fields[13].strip() or name
        return cls(
            name=name,
            display_name=_CONTROLS.sub("", display),
            supplies_subject=(
                fields[0].strip().upper() == _SUPPLIED_IN_REQUEST or bool(name_flags & _ENROLLEE_SUPPLIES_SUBJECT)
            ),
            key_spec=_number(fields[2]),
            key_flags=_number(fields[3]),
            enrollment_flags=_number(fields[4]),
            private_key_flags=_number(fields[5]),
            name_flags=name_flags,
            ra_signatures=_number(fields[7]),
            providers=tuple(part for part in fields[8].split(_CSP_SEPARATOR) if part),
            oid=fields[9].strip(),
            major_version=_number(fields[10]),
            minor_version=_number(fields[12]) if fields[12].strip() else None,
        )

    @property
    def minimal_key_size(self) -> int:
        """In bits; 0 when the option does not say."""
        return self.key_flags >> 16 & 0xFFFF

    def encode(self) -> str:
        """The option's value: exactly fourteen fields, safe inside double quotes."""
        fields = (
            _SUPPLIED_IN_REQUEST if self.supplies_subject else _FROM_DIRECTORY,
            _field(self.name),
            str(self.key_spec),
            str(self.key_flags),
            str(self.enrollment_flags),
            str(self.private_key_flags),
            str(self.name_flags),
            str(self.ra_signatures),
            _CSP_SEPARATOR.join(_field(provider) for provider in self.providers),
            _field(self.oid),
            str(self.major_version),
            "" if self.minor_version is None else "1",
            "" if self.minor_version is None else str(self.minor_version),
            _field(self.display_name),
        )
        return ";".join(fields)

    def to_html(self) -> str:
        """`<Option Value="E;User;...">User`: capital O and V, nothing between the value's quote and the bracket."""
        return f'<Option Value="{self.encode()}">{html.escape(_CONTROLS.sub("", self.display_name))}'


def _field(text: str) -> str:
    """A text as part of a value. An ampersand is escaped only where a browser would read a character reference."""
    return _LIKE_A_REFERENCE.sub("&amp;", _NOT_IN_A_FIELD.sub("", text).strip())


def _number(text: str) -> int:
    text = text.strip()
    negative, digits = text.startswith("-"), text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        return 0
    return (-int(digits) if negative else int(digits)) & 0xFFFF_FFFF  # flags may be written as signed numbers
