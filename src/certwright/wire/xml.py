"""XML as SOAP services need it: a bounded reader that never resolves anything, and the few words to write it.

XML 1.0, Namespaces in XML 1.0. Refused before a tree exists: DOCTYPE (so no entity but the five), processing
instructions, too much of anything. Comments are dropped, and never split a value: what stands around one is one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from certwright.adcs.errors import BadRequest

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 2_000
"""In a request; answers that list hundreds of templates have more."""
MAX_ATTRIBUTES: Final = 32
MAX_NAME: Final = 256

NIL: Final = "{http://www.w3.org/2001/XMLSchema-instance}nil"
LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"

_SEPARATOR: Final = "\x01"  # no character of XML, so no name can hold it
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_VALUE: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)


class XmlRefused(BadRequest):
    """Not well-formed, or more than this reader takes: answered below SOAP, with an HTTP status of 400."""


@dataclass(slots=True)
class Element:
    """One element. Names are `{namespace}local`; `text` is all character data directly inside."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)
    text: str = ""
    prefixes: dict[str, str] = field(default_factory=dict)  # declared here; for QNames in values

    def all(self, name: str) -> Iterator[Element]:
        """Direct children of a name. What lies deeper is never looked for."""
        return (child for child in self.children if child.name == name)

    def one(self, name: str) -> Element | None:
        """The only direct child of a name.

        Raises:
            BadRequest: it stands twice.
        """
        found = list(self.all(name))
        if len(found) > 1:
            raise BadRequest(f"the element {name.rpartition('}')[2]} stands {len(found)} times")
        return found[0] if found else None

    def value(self, name: str) -> str | None:
        """Text of the only direct child of a name, white space around it removed; None when absent or nil."""
        child = self.one(name)
        return None if child is None or child.is_nil else child.text.strip()

    @property
    def is_nil(self) -> bool:
        return self.attributes.get(NIL, "").strip() in ("true", "1")


def parse(data: bytes, limit: int, max_elements: int = MAX_ELEMENTS) -> Element:
    """The root of a document.

    Args:
        limit: longest document, in bytes.
        max_elements: how many elements it may have.

    Raises:
        XmlRefused: not well-formed, too long, too deep, too many elements, or with a DOCTYPE.
    """
    if len(data) > limit:
        raise XmlRefused(f"the document has {len(data)} bytes; {limit} are read")
    return _Builder(max_elements).build(data)


class _Builder:
    def __init__(self, max_elements: int) -> None:
        self._max_elements = max_elements
        self._stack: list[Element] = []
        self._texts: list[list[str]] = []
        self._root: Element | None = None
        self._count = 0
        self._declared: dict[str, str] = {}

    def build(self, data: bytes) -> Element:
        parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.EntityDeclHandler = _refuse_doctype
        parser.ProcessingInstructionHandler = _refuse_instruction
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise XmlRefused(f"the document is not well-formed: {error}") from None
        except (ValueError, LookupError):  # an encoding that nobody knows
            raise XmlRefused("the document is in an encoding that is not read") from None
        if self._root is None:
            raise XmlRefused("the document is empty")
        return self._root

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > self._max_elements:
            raise XmlRefused(f"the document has more than {self._max_elements} elements")
        if len(self._stack) == MAX_DEPTH:
            raise XmlRefused(f"the document is nested deeper than {MAX_DEPTH}")
        if len(attributes) > MAX_ATTRIBUTES:
            raise XmlRefused(f"an element has more than {MAX_ATTRIBUTES} attributes")
        element = Element(_qualified(name), {_qualified(key): value for key, value in attributes.items()})
        if self._declared:
            element.prefixes, self._declared = self._declared, {}
        if self._stack:
            self._stack[-1].children.append(element)
        else:
            self._root = element
        self._stack.append(element)
        self._texts.append([])

    def _end(self, _name: str) -> None:
        self._stack.pop().text = "".join(self._texts.pop())

    def _characters(self, text: str) -> None:
        self._texts[-1].append(text)


def _qualified(name: str) -> str:
    if len(name) > MAX_NAME:
        raise XmlRefused(f"a name is longer than {MAX_NAME} characters")
    namespace, separator, local = name.rpartition(_SEPARATOR)
    return f"{{{namespace}}}{local}" if separator else local


def _refuse_doctype(*_: object) -> None:
    raise XmlRefused("documents with a DOCTYPE or entities are not read")


def _refuse_instruction(*_: object) -> None:
    raise XmlRefused("documents with processing instructions are not read")


# -- writing ---------------------------------------------------------------------------------------------------------


def text(value: str) -> str:
    """Character data. Characters that XML cannot hold are replaced."""
    return _ILLEGAL.sub("\ufffd", value).translate(_TEXT)


def attribute(value: str) -> str:
    """The value of an attribute, without its quotation marks."""
    return _ILLEGAL.sub("\ufffd", value).translate(_VALUE)
