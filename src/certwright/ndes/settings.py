"""How the service works: its settings, checked. Names in brackets are those of the registry below MSCEP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.pki.enveloped_data import STRONG, ContentCipher

BUILT_IN: Final = "built-in"
WEBHOOK: Final = "webhook"


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
    ca: str = ""  # configuration string or name; empty: the issuing one
    rollover_days: int = 30
    policy: str = BUILT_IN
    policy_options: str = ""
    webhook_url: str = ""
    webhook_timeout: int = 10
    webhook_plain: bool = False
    webhook_ca: str = ""  # PEM
    webhook_key: str = ""  # sealed, hex; set by `ndes webhook-key`, not by hand

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
                    if len(text) > MAX_TEXT:
                        raise InvalidArgument(f"{key} has at most {MAX_TEXT} characters")
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


MAX_TEXT: Final = 32_768
"""Characters of a setting: a CA in PEM, or the options of a policy module."""
_RANGES: Final = {
    "challenge-length": (8, 64),
    "challenge-cache": (1, 100_000),
    "challenge-minutes": (1, 7 * 24 * 60),
    "answer-minutes": (1, 24 * 60),
    "rollover-days": (0, 3660),
    "webhook-timeout": (1, 60),
}
_NEVER_EMPTY: Final = frozenset({"signature-template", "encryption-template", "general-purpose-template", "policy"})
INTERNAL: Final = frozenset({"enabled", "account", "static-digest", "webhook-key"})
"""Settings that have commands of their own."""
SECRET: Final = frozenset({"static-digest", "webhook-key"})
"""Settings that no list and no event tells."""

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
    "ca": "The CA that issues, by name or configuration string; empty: the issuing CA. [CAInfo]",
    "rollover-days": "How long after a CA got a new key devices that trust the one before are told of it.",
    "policy": "Who decides on challenges and requests: built-in, webhook, or an installed module. [Modules]",
    "policy-options": "What an installed policy module is told; it says which.",
    "webhook-url": "Where the policy module webhook asks.",
    "webhook-timeout": "Seconds for an answer of the webhook; after that the request is refused for now.",
    "webhook-plain": "Ask the webhook by http, not https, also on another host.",
    "webhook-ca": "Certificate of the CA, in PEM, that the webhook's must be from; empty: those of the system.",
}
"""The settings people may change, and what they are about."""
