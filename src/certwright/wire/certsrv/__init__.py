"""The pages of Web Enrollment (/certsrv) as messages, read and written by both sides.

There is no specification of these pages: the contract is what public clients send and what their regular expressions
match. `forms` holds what is sent, `markers` the exact texts that answers must contain, `options` the template list,
`answers` what a client makes of a page, whatever its language.
"""

from certwright.wire.certsrv.answers import (
    CaPage,
    Denied,
    Error,
    Issued,
    Pending,
    Retrieved,
    Unknown,
    decode_certificate,
    decode_chain,
    decode_page,
    parse_ca_page,
    parse_outcome,
    parse_retrieval,
    parse_templates,
)
from certwright.wire.certsrv.forms import CrlQuery, Encoding, RetrieveQuery, SubmitForm, decode_request
from certwright.wire.certsrv.options import TemplateOption

__all__ = [
    "CaPage",
    "CrlQuery",
    "Denied",
    "Encoding",
    "Error",
    "Issued",
    "Pending",
    "RetrieveQuery",
    "Retrieved",
    "SubmitForm",
    "TemplateOption",
    "Unknown",
    "decode_certificate",
    "decode_chain",
    "decode_page",
    "decode_request",
    "parse_ca_page",
    "parse_outcome",
    "parse_retrieval",
    "parse_templates",
]
