"""How the values of template settings are written: on and off, numbers, lists, object identifiers, words for flags.

Reading functions raise `ValueError` with what would be accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any, Final, TypeVar

from certwright.adcs.template_checks import is_oid
from certwright.pki import oids

Flag = TypeVar("Flag", bound=IntFlag)

USAGE_NAMES: Final = {
    "serverAuth": oids.EKU_SERVER_AUTH,
    "clientAuth": oids.EKU_CLIENT_AUTH,
    "codeSigning": oids.EKU_CODE_SIGNING,
    "emailProtection": oids.EKU_EMAIL_PROTECTION,
    "timeStamping": oids.EKU_TIME_STAMPING,
    "OCSPSigning": oids.EKU_OCSP_SIGNING,
    "smartCardLogon": oids.EKU_SMART_CARD_LOGON,
    "kdcAuthentication": oids.EKU_KDC_AUTHENTICATION,
    "ipsecIKE": oids.EKU_IPSEC_IKE,
    "encryptingFileSystem": oids.EKU_EFS,
    "documentSigning": oids.EKU_DOCUMENT_SIGNING,
    "remoteDesktop": oids.EKU_REMOTE_DESKTOP,
    "enrollmentAgent": oids.EKU_ENROLLMENT_AGENT,
    "anyPurpose": oids.EKU_ANY,
}
"""Extended key usages that may be written by name; any other by its OID."""


def switch(text: str) -> bool:
    match text.lower():
        case "on" | "yes" | "true":
            return True
        case "off" | "no" | "false":
            return False
    raise ValueError(f"{text!r} is neither on nor off")


def number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"{text!r} is no number")
    return int(text)


def listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def oid_of(text: str) -> str:
    for name, oid in USAGE_NAMES.items():
        if name.lower() == text.lower():
            return oid
    if not is_oid(text):
        raise ValueError(f"{text!r} is no object identifier and none of {', '.join(USAGE_NAMES)}")
    return text


def oids_of(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(oid_of(part) for part in listed(text)))


def word_of(text: str, known: Mapping[str, Any]) -> Any:
    if text.lower() not in known:
        raise ValueError(f"{text!r} is none of {', '.join(known)}")
    return known[text.lower()]


def choices(text: str, known: Mapping[str, Flag]) -> Flag:
    found = next(iter(known.values()))
    for part in listed(text):
        found |= word_of(part, known)
    return found


def all_of(known: Mapping[str, Flag]) -> Flag:
    return choices(",".join(known), known)


def chosen(flags: Flag, known: Mapping[str, Flag]) -> str:
    """The words of the bits that are set; `none` for none of them."""
    return ", ".join(word for word, bit in known.items() if bit & flags) or next(iter(known))


def set_bit(flags: Flag, bit: Flag, on: bool) -> Flag:
    kind = type(flags)
    return kind(flags | bit) if on else kind(flags & ~bit)


def on_off(value: bool) -> str:
    return "on" if value else "off"
