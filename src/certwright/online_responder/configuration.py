"""A revocation configuration as values: everything about it that an administrator can set. [MS-OCSPA] 3.2.1.1.

Stored are texts that differ from the defaults. Two profiles differ in four of the defaults: `rfc6960` serves every
client of today; `microsoft` answers as the Online Responder of Windows does out of the box ([MS-OCSP] 3.2.5).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self, TypeVar

from certwright.adcs.errors import InvalidArgument
from certwright.pki import ocsp

MOST_REQUESTS: Final = 128
MOST_KEPT: Final = 200_000
_VALIDITY_MINUTES: Final = (5, 10 * 24 * 60)
"""The longest is what Firefox takes at most."""

_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=StrEnum)


class Profile(StrEnum):
    RFC6960 = "rfc6960"
    MICROSOFT = "microsoft"


class NoncePolicy(StrEnum):
    """What a nonce in a request leads to."""

    ECHO = "echo"  # the answer is signed for this request, with the nonce in it
    IGNORE = "ignore"  # the answer everybody gets
    REJECT = "reject"  # unauthorized


class NonIssued(StrEnum):
    """What is said of serial numbers that the CA never issued."""

    UNKNOWN = "unknown"
    GOOD = "good"  # as from CRLs alone
    REVOKED = "revoked"  # RFC 6960 2.2, with the extended revoke extension


class SignedWith(StrEnum):
    CERTIFICATE = "certificate"  # a signing certificate of the template OCSPResponseSigning
    CHOSEN = "chosen"  # one that an administrator brought; renewed by people
    CA_KEY = "ca-key"


class ResponderId(StrEnum):
    KEY = "key"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: its default in each profile, and what it means for people."""

    key: str
    meaning: str
    rfc6960: str
    microsoft: str

    def default(self, profile: Profile) -> str:
        return self.rfc6960 if profile is Profile.RFC6960 else self.microsoft


def _same(key: str, meaning: str, default: str) -> Setting:
    return Setting(key, meaning, default, default)


_ALL: Final = (
    _same("profile", "rfc6960, or microsoft: what Windows does by default.", "rfc6960"),
    Setting("nonce", "A nonce in a request: echo, ignore or reject.", "echo", "reject"),
    Setting("hash-algorithms", "What CertIDs may be hashed with.", "sha1,sha256", "sha1"),
    Setting("max-requests", f"Certificates one message may ask for, up to {MOST_REQUESTS}.", "16", "1"),
    Setting("non-issued", "Numbers the CA never issued: unknown, good or revoked (RFC 6960 2.2).", "unknown", "good"),
    _same(
        "signed-with",
        "certificate (template OCSPResponseSigning), chosen (installed by hand), or ca-key.",
        "certificate",
    ),
    _same("responder-id", "How answers name their signer: key or name.", "key"),
    _same("validity-minutes", "How long an answer is good for.", "720"),
    _same("clock-skew-minutes", "How far thisUpdate lies back, for clients whose clock is slow.", "10"),
    _same("max-age-seconds", "How long an HTTP cache may keep an answer.", "3600"),
    _same("archive-cutoff", "on: answers say since when revocations are kept past expiry.", "off"),
    _same("pre-produce", "Answers made ahead, for the newest certificates; 0 for none.", "10000"),
)
SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({setting.key: setting for setting in _ALL})


@dataclass(frozen=True, slots=True)
class RevocationConfiguration:
    """The settings of one CA's responder as values. `SETTINGS` says what each means."""

    profile: Profile
    nonce: NoncePolicy
    hash_algorithms: frozenset[str]  # OIDs
    max_requests: int
    non_issued: NonIssued
    signed_with: SignedWith
    responder_id: ResponderId
    validity: timedelta
    clock_skew: timedelta
    max_age: int  # seconds
    archive_cutoff: bool
    pre_produce: int
    texts: Mapping[str, str]

    @classmethod
    def load(cls, stored: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Raises:
        InvalidArgument: a key is not known, or its value cannot be.
        """
        for key in stored:
            _known(key)
        profile = _choice(stored, "profile", Profile, Profile.RFC6960)
        texts = {key: stored.get(key, setting.default(profile)) for key, setting in SETTINGS.items()}
        return cls(
            profile=profile,
            nonce=_choice(texts, "nonce", NoncePolicy),
            hash_algorithms=checked(texts, "hash-algorithms", _hashes),
            max_requests=checked(texts, "max-requests", number_between(1, MOST_REQUESTS)),
            non_issued=_choice(texts, "non-issued", NonIssued),
            signed_with=_choice(texts, "signed-with", SignedWith),
            responder_id=_choice(texts, "responder-id", ResponderId),
            validity=timedelta(minutes=checked(texts, "validity-minutes", number_between(*_VALIDITY_MINUTES))),
            clock_skew=timedelta(minutes=checked(texts, "clock-skew-minutes", number_between(0, 60))),
            max_age=checked(texts, "max-age-seconds", number_between(0, 864_000)),
            archive_cutoff=checked(texts, "archive-cutoff", _switch),
            pre_produce=checked(texts, "pre-produce", number_between(0, MOST_KEPT)),
            texts=MappingProxyType(texts),
        )

    def changed(self, changes: Mapping[str, str]) -> RevocationConfiguration:
        """With other values; a new profile brings its own for what is not named.

        Raises:
            InvalidArgument: as `load`.
        """
        base = self.texts
        if "profile" in changes and changes["profile"] != self.profile:
            base = {key: text for key, text in base.items() if SETTINGS[key].rfc6960 == SETTINGS[key].microsoft}
        return RevocationConfiguration.load({**base, **{_known(key).key: text for key, text in changes.items()}})

    def as_settings(self) -> dict[str, str]:
        """What differs from the defaults of its profile, and the profile."""
        usual = {key: setting.default(self.profile) for key, setting in SETTINGS.items() if key != "profile"}
        return {key: text for key, text in self.texts.items() if text != usual.get(key)}


def _known(key: str) -> Setting:
    found = SETTINGS.get(key)
    if found is None:
        near = difflib.get_close_matches(key, SETTINGS, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SETTINGS)}"
        raise InvalidArgument(f"the responder has no setting {key[:80]!r}; {hint}")
    return found


def checked(texts: Mapping[str, str], key: str, read: Callable[[str], _T]) -> _T:
    """What a setting's text says.

    Raises:
        InvalidArgument: `read` raises `ValueError`.
    """
    text = texts[key]
    try:
        return read(text.strip().lower())
    except ValueError as error:
        raise InvalidArgument(f"{key}: {text[:80]!r} cannot be; {error}") from None


def _choice(texts: Mapping[str, str], key: str, kind: type[_Choice], default: _Choice | None = None) -> _Choice:
    if default is not None and key not in texts:
        return default

    def read(text: str) -> _Choice:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"it is one of {', '.join(kind)}") from None

    return checked(texts, key, read)


def number_between(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text[:10]) <= most:
            raise ValueError(f"it is a number from {least} to {most}")
        return int(text)

    return read


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("it is on or off")
    return text == "on"


def _hashes(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",")]
    if any(name not in ocsp.HASHES for name in names):
        raise ValueError(f"it is a list of {', '.join(ocsp.HASHES)}")
    return frozenset(ocsp.HASHES[name] for name in names)
