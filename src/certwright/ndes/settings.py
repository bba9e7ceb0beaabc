"""How the service works: its settings, checked. Names in brackets are those of the registry below MSCEP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.pki.enveloped_data import STRONG, ContentCipher


class ChallengeMode(StrEnum):
    """What an initial request must bring."""

    ONE_TIME = "one-time"
    STATIC = "static"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NdesSettings:
    """Every setting with its default."""

    enabled: bool = False
    challenge: ChallengeMode = ChallengeMode.ONE_TIME
    challenge_length: int = 8
    challenge_cache: int = 5
    challenge_minutes: int = 60
    static_digest: str = ""  # hex; set by `ndes challenge --static`, not by hand
    answer_minutes: int = 20
    signature_template: str = "IPSECIntermediateOffline"
    encryption_template: str = "IPSECIntermediateOffline"
    general_purpose_template: str = "IPSECIntermediateOffline"
    match_renewal_subject: bool = True
    sha1: bool = False
    triple_des: bool = True
    des: bool = False
    account: str = "NDES"

    @classmethod
    def load(cls, stored: Mapping[str, str]) -> NdesSettings:
        """From the table; names that this version does not know are passed over."""
        known = {each.name for each in fields(cls)}
        changes = {key.replace("-", "_"): value for key, value in stored.items()}
        return cls()._changed({name: value for name, value in changes.items() if name in known})

    def changed(self, changes: Mapping[str, str]) -> NdesSettings:
        """With settings as people write them.

        Raises:
            InvalidArgument: there is no such setting, or it cannot have this value.
        """
        for key in changes:
            if key not in MEANINGS:
                known = ", ".join(MEANINGS)
                raise InvalidArgument(f"NDES has no setting {key!r}; it has: {known}")
        return self._changed({key.replace("-", "_"): value.strip() for key, value in changes.items()})

    def _changed(self, changes: Mapping[str, str]) -> NdesSettings:
        values: dict[str, bool | int | str] = {}
        for name, text in changes.items():
            key = name.replace("_", "-")
            match getattr(self, name):
                case bool():
                    if text not in ("on", "off"):
                        raise InvalidArgument(f"{key} is on or off")
                    values[name] = text == "on"
                case int():
                    low, high = _RANGES[key]
                    if not (text.isascii() and text.isdigit() and low <= int(text[:9]) <= high):
                        raise InvalidArgument(f"{key} is a number from {low} to {high}")
                    values[name] = int(text)
                case ChallengeMode():
                    if text not in set(ChallengeMode):
                        raise InvalidArgument(f"{key} is one of: {', '.join(ChallengeMode)}")
                    values[name] = ChallengeMode(text)
                case _:
                    if not text and key in _NEVER_EMPTY:
                        raise InvalidArgument(f"{key} must not be empty")
                    values[name] = text
        return replace(self, **values)  # type: ignore[arg-type]

    def as_text(self) -> dict[str, str]:
        """Every setting as people write it."""
        return {each.name.replace("_", "-"): _text(getattr(self, each.name)) for each in fields(self)}

    @property
    def templates(self) -> tuple[str, ...]:
        """Those that devices may get, each once."""
        named = (self.signature_template, self.encryption_template, self.general_purpose_template)
        return tuple(dict.fromkeys(named))

    @property
    def ciphers(self) -> frozenset[ContentCipher]:
        allowed = set(STRONG)
        if self.triple_des:
            allowed.add(ContentCipher.TRIPLE_DES)
        if self.des:
            allowed.add(ContentCipher.DES)
        return frozenset(allowed)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


_RANGES: Final = {
    "challenge-length": (8, 64),
    "challenge-cache": (1, 100_000),
    "challenge-minutes": (1, 7 * 24 * 60),
    "answer-minutes": (1, 24 * 60),
}
_NEVER_EMPTY: Final = frozenset({"signature-template", "encryption-template", "general-purpose-template"})

MEANINGS: Final[Mapping[str, str]] = {
    "challenge": "What an initial request must bring: one-time, static or none. [EnforcePassword, UseSinglePassword]",
    "challenge-length": "Octets of a challenge; twice as many characters are shown. [PasswordLength]",
    "challenge-cache": "How many unused challenges there may be at a time. [PasswordMax]",
    "challenge-minutes": "How long a challenge is good. [PasswordValidity]",
    "answer-minutes": "How long a repeated message gets the same answer again. [CacheRequest]",
    "signature-template": "For requests whose key usage is signatures alone. [SignatureTemplate]",
    "encryption-template": "For requests whose key usage is encryption alone. [EncryptionTemplate]",
    "general-purpose-template": "For all other requests. [GeneralPurposeTemplate]",
    "match-renewal-subject": "A renewal must ask for the subject it has. [DisableRenewalSubjectNameMatch, reversed]",
    "sha1": "Read messages signed by way of SHA-1. Answers are signed with SHA-256.",
    "triple-des": "Read and write messages encrypted with 3DES.",
    "des": "Read and write messages encrypted with DES, which protects nothing.",
}
"""The settings people may change, and what they are about."""
