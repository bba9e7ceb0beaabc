"""CAs elsewhere, Microsoft's too: whose certificates the responder knows from CRLs. [MS-OCSPA] 3.2.1.1, Provider.

A CA elsewhere is its certificate, the locations of its CRLs, and a name here. One of them is one key of that CA:
after a renewal with a new key there are two.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from certwright.adcs.errors import InvalidArgument
from certwright.connectors.fetching import NO_VALIDATORS, Found, LocationError, Question, Validators
from certwright.online_responder.configuration import SETTINGS, Setting, checked, number_between
from certwright.online_responder.lists import MAX_LIST, Scope
from certwright.online_responder.partitions import PLACEHOLDER, PartitionRange, Slot
from certwright.pki import armor, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import decode_crl_distribution_points

MAX_URLS: Final = 8
PATIENCE: Final = 60.0
"""Seconds in which a list has to arrive."""
_MAX_URL: Final = 2048
_MAX_CERTIFICATE: Final = 64 << 10
_SCHEMES: Final = ("http", "https", "ldap", "file")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f/\\]{1,200}")
NONE: Final = "none"


def _setting(key: str, meaning: str, default: str) -> Setting:
    return Setting(key, meaning, default, default)


_ALL: Final = (
    _setting(
        "crl-urls", "Where its base CRL is copied from; the next one where one fails. Separated by spaces.", NONE
    ),
    _setting("delta-crl-urls", "The same of its delta CRL; none where it makes none.", NONE),
    _setting(
        "partitions",
        f"CRL partitions: how many there are (4), which (2-7), or 1- for all that are found; {PLACEHOLDER} in URLs is"
        " their number.",
        NONE,
    ),
    _setting("refresh-minutes", "How often they are copied; sooner where a list says so.", "60"),
    _setting("scopes", "Limited CRLs that are taken all the same: named, user-only, ca-only.", NONE),
    _setting("issued-serials", "A folder with a file for each issued serial number; what has none is unknown.", NONE),
)
SOURCE_SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({setting.key: setting for setting in _ALL})
HOST_SETTINGS: Final = frozenset({"issued-serials"})
"""What names files of this host is set at its command line only, and so are URLs of files."""


@dataclass(frozen=True, slots=True)
class ListSources:
    """Where the CRLs of one CA come from. `SOURCE_SETTINGS` says what each setting means."""

    crl_urls: tuple[str, ...]
    delta_crl_urls: tuple[str, ...]
    refresh: timedelta
    scopes: frozenset[Scope]
    issued_serials: Path | None
    partitions: PartitionRange | None
    texts: Mapping[str, str]

    @classmethod
    def load(cls, stored: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Raises:
        InvalidArgument: a key is not known, or its value cannot be.
        """
        for key in stored:
            known(key)
        texts = {key: stored.get(key, setting.rfc6960).strip() for key, setting in SOURCE_SETTINGS.items()}
        folder = texts["issued-serials"]
        if folder != NONE and not Path(folder).is_absolute():
            raise InvalidArgument(f"issued-serials: {folder[:80]!r} is no absolute path of a folder")
        partitions = checked(texts, "partitions", _partitions)
        return cls(
            crl_urls=_urls(texts, "crl-urls", in_partitions=partitions is not None),
            delta_crl_urls=_urls(texts, "delta-crl-urls", in_partitions=partitions is not None),
            refresh=timedelta(minutes=checked(texts, "refresh-minutes", number_between(1, 10_080))),
            scopes=checked(texts, "scopes", _scopes),
            issued_serials=None if folder == NONE else Path(folder),
            partitions=partitions,
            texts=MappingProxyType(texts),
        )

    def changed(self, changes: Mapping[str, str]) -> ListSources:
        """With other values. Raises as `load`."""
        return ListSources.load({**self.texts, **changes})

    def as_settings(self) -> dict[str, str]:
        """What differs from the defaults."""
        return {key: text for key, text in self.texts.items() if text != SOURCE_SETTINGS[key].rfc6960}

    def slots(self, taken: Collection[Slot]) -> Sequence[Slot]:
        """The lists that there are, as far as is known, the base of each partition first.

        Args:
            taken: of which one is here.
        """
        kinds = (False, True) if self.delta_crl_urls else (False,)
        numbers = (0,) if self.partitions is None else self.partitions.there(_bases(taken))
        return [Slot(number, is_delta) for number in numbers for is_delta in kinds]

    def sought(self, taken: Collection[Slot]) -> Slot | None:
        """The base of a partition that may have come since, and is looked for."""
        number = None if self.partitions is None else self.partitions.sought(_bases(taken))
        return None if number is None else Slot(number, False)

    @property
    def all_scopes(self) -> frozenset[Scope]:
        """What a list may be limited to; partitions are for those that name them."""
        return self.scopes if self.partitions is None else self.scopes | {Scope.NAMED}

    @property
    def names_files(self) -> bool:
        """Does anything of it lie on this host?"""
        urls = (*self.crl_urls, *self.delta_crl_urls)
        return self.issued_serials is not None or any(urlsplit(url).scheme == "file" for url in urls)


@dataclass(frozen=True, slots=True)
class CaElsewhere:
    """One key of a CA whose database is not here."""

    ca_id: int
    name: str
    certificate: CertificateView
    sources: ListSources

    @property
    def signer_place(self) -> str:
        """What its signing certificates are called by."""
        return f"elsewhere-{self.ca_id}"


def known(key: str) -> Setting:
    """A setting of a CA elsewhere by its key, of the sources or of the answers.

    Raises:
        InvalidArgument: there is none.
    """
    found = SOURCE_SETTINGS.get(key) or SETTINGS.get(key)
    if found is None:
        near = difflib.get_close_matches(key, (*SOURCE_SETTINGS, *SETTINGS), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join((*SOURCE_SETTINGS, *SETTINGS))}"
        raise InvalidArgument(f"the responder has no setting {key[:80]!r}; {hint}")
    return found


def demand_name(name: str) -> str:
    """A name for a CA elsewhere.

    Raises:
        InvalidArgument: it is empty, too long, or holds what no name holds.
    """
    stripped = name.strip()
    if not _NAME.fullmatch(stripped):
        raise InvalidArgument("a CA is called by 1 to 200 characters, none of them a slash or a control character")
    return stripped


def _bases(taken: Collection[Slot]) -> frozenset[int]:
    return frozenset(slot.partition for slot in taken if not slot.is_delta)


def _urls(texts: Mapping[str, str], key: str, *, in_partitions: bool) -> tuple[str, ...]:
    text = texts[key]
    if text == NONE or not text:
        return ()
    urls = tuple(dict.fromkeys(text.split()))
    if len(urls) > MAX_URLS:
        raise InvalidArgument(f"{key}: {len(urls)} locations are too many; {MAX_URLS} are enough")
    for url in urls:
        _demand_url(key, url)
        if in_partitions and PLACEHOLDER not in url:
            raise InvalidArgument(
                f"{key}: write {PLACEHOLDER} into {url[:200]!r}, where partitions have their number"
            )
        if PLACEHOLDER in url and not in_partitions:
            raise InvalidArgument(f"{key}: {PLACEHOLDER} is in it; say which there are: partitions=1-")
    return urls


def _demand_url(key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidArgument(f"{key}: {url[:80]!r} is no URL: {error}") from None
    whole = bool(parts.hostname) if parts.scheme in ("http", "https") else bool(parts.path.strip("/"))
    if parts.scheme not in _SCHEMES or not whole or len(url) > _MAX_URL or not url.isprintable():
        raise InvalidArgument(
            f"{key}: {url[:80]!r} is no location; they begin with http://, https://, file:/// or ldap://"
        )
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        raise InvalidArgument(f"{key}: {url[:80]!r} is no file of this host; write file:///FOLDER/NAME.crl")


def _partitions(text: str) -> PartitionRange | None:
    return None if text == NONE else PartitionRange.parse(text)


def _scopes(text: str) -> frozenset[Scope]:
    if text == NONE:
        return frozenset()
    try:
        return frozenset(Scope(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError(f"it is none, or a list of {', '.join(Scope)}") from None


# -- copying ---------------------------------------------------------------------------------------------------------

Ask = Callable[[Question, Validators], Found]
"""Asks HTTP, HTTPS and LDAP, and judges where they lead. Raises `LocationError`."""


def copy(url: str, ask: Ask, known: Validators = NO_VALIDATORS) -> Found:
    """The DER that lies at a location now.

    Args:
        known: of the list that was copied from there and is kept; then nothing comes where it is the same.

    Raises:
        LocationError: nothing that can be used; the sentence says why.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        found = Found(_file(Path(unquote(parts.path))))
    else:
        found = ask(Question(url, MAX_LIST, patience=PATIENCE), known)
    if found.is_same:
        return found
    try:
        return Found(armor.dearmor(found.body, MAX_LIST), found.validators)
    except EncodingError as error:
        raise LocationError(f"what stands there is no CRL: {error}") from error


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LIST + 1)
    except OSError as error:
        is_absent = isinstance(error, FileNotFoundError) and path.parent.is_dir()
        raise LocationError(f"{path} cannot be read: {error.strerror or error}", is_absent=is_absent) from error
    if len(data) > MAX_LIST:
        raise LocationError(f"{path} has more than {MAX_LIST} bytes")
    return data


class Issued(NamedTuple):
    """A certificate that was issued. `points` are the distribution points that it names, None where nobody knows."""

    points: frozenset[str] | None = None


def issued(folder: Path, serial: int) -> Issued | None:
    """Was a serial number issued? A file says so whose name is the number in lower-case hex.

    It may be empty, or hold the certificate.

    Raises:
        LocationError: it cannot be read.
    """
    path = folder / f"{serial:x}"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CERTIFICATE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocationError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        view = CertificateView.parse(armor.dearmor(data, _MAX_CERTIFICATE))
        found = view.extensions.get(oids.CRL_DISTRIBUTION_POINTS)
        points = frozenset(decode_crl_distribution_points(found.value)) if found is not None else frozenset()
    except EncodingError:
        return Issued()
    return Issued(points if int(view.serial_number, 16) == serial else None)
