"""A request and its answer as they pass the door. [MS-WCCE] 3.2.1.4.2.1, 3.2.1.4.3.1.1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

from certwright.adcs.errors import HResult

MAX_ATTRIBUTES_LENGTH = 1536
"""Longest attributes string, in characters, that the interface takes ([MS-WCCE] 3.2.1.4.2.1)."""


class Disposition(IntEnum):
    """The wire numbering, CR_DISP_*. The request table numbers differently: `ca.database.RequestState`."""

    INCOMPLETE = 0
    ERROR = 1
    DENIED = 2
    ISSUED = 3
    ISSUED_OUT_OF_BAND = 4
    UNDER_SUBMISSION = 5
    REVOKED = 6


class RequestFlags(IntFlag):
    """dwFlags of a submission. [MS-WCCE] 3.2.1.4.3.1.1."""

    DETECT = 0
    PKCS10 = 0x100
    KEYGEN = 0x200
    CMS = 0x300
    CMC = 0x400
    CHALLENGE_RESPONSE = 0x500
    SIGNED_CERTIFICATE_TIMESTAMP_LIST = 0x600
    FULL_RESPONSE = 0x0004_0000
    CRLS = 0x0008_0000
    MACHINE = 0x0010_0000
    RENEWAL_ON_BEHALF_OF = 0x0020_0000
    PRECERTIFICATE = 0x0400_0000
    PRESIGN = 0x0800_0000

    @property
    def request_type(self) -> RequestFlags:
        """The format the caller claims, bits 8 to 15; DETECT leaves it to the CA."""
        return RequestFlags(int(self) & 0xFF00)


@dataclass(frozen=True, slots=True)
class RequestAttributes:
    """The attributes string: `Name:Value` lines in the caller's order. [MS-WCCE] 3.2.1.4.2.1.2."""

    items: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> RequestAttributes:
        """Read an attributes string the way Windows does.

        Lines end in LF or CRLF; malformed lines are ignored; blanks and minus signs inside the name do not
        count, blanks around the value neither.

        Raises:
            ValueError: longer than `MAX_ATTRIBUTES_LENGTH`.
        """
        if len(text) > MAX_ATTRIBUTES_LENGTH:
            raise ValueError(f"the attributes string is longer than {MAX_ATTRIBUTES_LENGTH} characters")
        items = []
        for line in text.replace("\x00", "").split("\n"):
            name, colon, value = line.partition(":")
            name = name.strip().replace(" ", "").replace("-", "").replace("\t", "")
            if colon and name:
                items.append((name, value.strip()))
        return cls(tuple(items))

    def get(self, name: str) -> str | None:
        """The first value of an attribute, name compared without case; None when absent."""
        return next(self.all(name), None)

    def all(self, name: str) -> Iterator[str]:
        wanted = name.lower()
        return (value for key, value in self.items if key.lower() == wanted)

    def __str__(self) -> str:
        return "\n".join(f"{name}:{value}" for name, value in self.items)


NO_ATTRIBUTES = RequestAttributes()


def template_attributes(template: str, *more: tuple[str, str]) -> RequestAttributes:
    """Attributes that ask for a certificate template by its cn."""
    return RequestAttributes((("CertificateTemplate", template), *more))


class Response(NamedTuple):
    """The CA's answer to a submission or a retrieval. [MS-WCCE] 3.2.1.4.2.1."""

    request_id: int
    disposition: Disposition
    status: HResult
    message: str  # disposition message, for people
    certificate: bytes | None = None
    full_response: bytes | None = None

    @property
    def is_issued(self) -> bool:
        return self.disposition in (Disposition.ISSUED, Disposition.ISSUED_OUT_OF_BAND)
