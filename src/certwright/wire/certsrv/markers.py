"""The exact texts of /certsrv's pages that clients look for, and nothing else of the pages.

Every outcome has its own markers and a page carries those of its own outcome only: clients look for them one after
the other and stop at the first hit. What stands around a marker is free; the texts here are not to be translated,
re-spaced or escaped differently. Texts that come from elsewhere go through `plain` or `quoted` first.
"""

from __future__ import annotations

import html
import re
from typing import Final

from certwright.adcs.errors import HResult

CERTIFICATE_ISSUED: Final = "Certificate Issued"
CERTIFICATE_PENDING: Final = "Certificate Pending"
WAIT_FOR_ADMINISTRATOR: Final = "you must wait for an administrator"
REQUEST_DENIED: Final = "Certificate Request Denied"
TAKEN_UNDER_SUBMISSION: Final = "Taken Under Submission"
ERROR_PARSING: Final = "Error Parsing Request"
PROPERTY_EMPTY: Final = "The requested property value is empty."
"""The result text for an unknown request ID and for other people's, which must look alike."""

NO_DISPOSITION_MESSAGE: Final = "(none)"
MAX_MESSAGE: Final = 2000
"""Longest message written into a page, in characters."""

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def plain(text: str) -> str:
    """One line of text, bounded, without control characters (a TAB or line end would end or split a marker)."""
    return _CONTROLS.sub(" ", text[:MAX_MESSAGE]).strip()


def escaped(text: str) -> str:
    """One line as HTML text. Quotes stay as they are: clients read the text as it stands in the page."""
    return html.escape(plain(text), quote=False)


def issued_script(request_id: int | str) -> str:
    """What follows an issued request's link: two functions, each with the link as its first quoted string.

    A widely copied shell script takes the line after `function handleGetCert() {` and cuts the first string in
    double quotes; relay tools need `location="certnew.cer?ReqID=` without a blank; everybody else needs
    `certnew.cer?ReqID=<n>&` with a bare ampersand.
    """
    return (
        "function handleGetCert() {\n"
        f'    location="certnew.cer?ReqID={request_id}&" + getEncoding();\n'
        "}\n"
        "function handleGetChain() {\n"
        f'    location="certnew.p7b?ReqID={request_id}&" + getEncoding();\n'
        "}"
    )


def request_id_sentence(request_id: int | str) -> str:
    """Capital R and I, full stop right after the number."""
    return f"Your Request Id is {request_id}."


def disposition_sentence(message: str) -> str:
    """The sentence of a denied request, as HTML: the message in straight double quotes and without any inside."""
    return f'The disposition message is "{escaped(message).replace(chr(34), chr(39))}"'


def disposition_line(message: str) -> str:
    """`Disposition message:` of an error page, as HTML: two TABs, then the message alone to the end of the line."""
    return f"<b>Disposition message:</b>\t\t{escaped(message) or NO_DISPOSITION_MESSAGE}"


def last_status_line(text: str, status: HResult) -> str:
    """`LastStatus:` of an error page, as HTML: sentence, code, signed decimal and symbol."""
    return f"<b>LastStatus:</b>\t\t{escaped(text)} {status}"


def error_line(name: str, value: str) -> str:
    """Any other line of an error page, in the same shape, as HTML."""
    return f"<b>{html.escape(name)}:</b>\t\t{escaped(value)}"


def renewals_script(newest: int) -> str:
    """The number of the newest CA certificate, counted from 0, as certcarc.asp carries it."""
    return f"var nRenewals={newest};"
