"""Import: certificates, and keys that come with them, from files of every usual kind. Read first, stored afterwards.

PEM (also several blocks and keys), DER, base64, PKCS#7 (RFC 2315, RFC 5652), PFX (RFC 7292), and ZIP archives of
these, which is how a folder is uploaded. Everything is bounded: sizes, counts, and what an archive grows to.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from certwright.adcs.errors import BadRequest, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.keystores.base import PrivateKey
from certwright.manager import store_inventory as rows
from certwright.manager.changes import Change, Changes
from certwright.manager.inventory_values import Source
from certwright.manager.keys import Keys, load_key, usable_key
from certwright.manager.store_inventory import NewCertificate
from certwright.manager.values import clean_tags, optional_text
from certwright.pki.armor import dearmor
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only
from certwright.pki.errors import EncodingError
from certwright.pki.public_keys import load_public_key

MAX_FILES: Final = 1000
MAX_FILE: Final = 4 << 20
MAX_TOTAL: Final = 64 << 20
MAX_CERTIFICATES: Final = 10_000
_MAX_CERTIFICATE: Final = 256 << 10
_MAX_NAME: Final = 200

_BLOCK: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]{1,8000000}-----END \1-----",
)
_PKCS12: Final = (".pfx", ".p12")
_KEY_BLOCKS: Final = frozenset({b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"})
_SKIPPED_BLOCKS: Final = frozenset(
    {b"EC PARAMETERS", b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST", b"X509 CRL"}
)


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A file as it was uploaded."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundCertificate:
    """A certificate of a file. `known` is its number, when the inventory has it already."""

    view: CertificateView = field(repr=False)
    with_key: bool
    known: int | None


@dataclass(frozen=True, slots=True)
class FileResult:
    """What was read of one file; `problem` in words where something of it was not."""

    name: str
    certificates: tuple[FoundCertificate, ...]
    keys: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import stored."""

    files: tuple[FileResult, ...]
    added: tuple[int, ...]  # numbers in the inventory
    known: int  # certificates that were there already
    keys: int  # private keys that were not here before


@dataclass(slots=True)
class _Contents:
    """What lies in one file."""

    certificates: list[bytes] = field(default_factory=list)
    keys: list[PrivateKey] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Importing:
    def __init__(self, changes: Changes, keys: Keys) -> None:
        self._changes = changes
        self._keys = keys

    def preview(self, files: Iterable[ImportFile], password: str = "") -> Sequence[FileResult]:
        """What lies in the files; nothing is stored.

        Args:
            password: of PFX files and encrypted keys among them.

        Raises:
            InvalidArgument: they are too many, or too large.
        """
        return [self._result(name, contents) for name, contents in _read_all(files, password)]

    def store(
        self,
        files: Iterable[ImportFile],
        password: str = "",
        *,
        owner: str = "",
        tags: Sequence[str] = (),
        managed: bool = False,
        actor: str,
    ) -> ImportResult:
        """Put what lies in the files into the inventory, each file in a transaction of its own.

        A certificate that is there already stays as it is; a private key is kept only beside its certificate.

        Raises:
            InvalidArgument: they are too many, or too large.
        """
        owner, wanted = optional_text(owner, "The owner"), clean_tags(tags)
        results: list[FileResult] = []
        added: list[int] = []
        known = kept = 0
        for name, contents in _read_all(files, password):
            results.append(self._result(name, contents))
            with self._changes.change(actor) as change:
                new = NewCertificate(Source.IMPORT, managed, owner, actor, wanted)
                numbers, keys = self._store_one(change, results[-1], contents, new)
            added += numbers
            known += len(results[-1].certificates) - len(numbers)
            kept += keys
        return ImportResult(tuple(results), tuple(added), known, kept)

    def _store_one(
        self, change: Change, result: FileResult, contents: _Contents, new: NewCertificate
    ) -> tuple[list[int], int]:
        added = []
        for found in result.certificates:
            number = rows.insert_certificate(change.connection, found.view, new, change.when)
            if number is None:
                continue
            added.append(number)
            rows.add_line(change.connection, number, change.when, change.actor, f"Imported from {result.name}.")
        kept = 0
        public = {found.view.public_key_info for found in result.certificates}
        for private_key in contents.keys:
            spki = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            if spki not in public and not self._has_certificate(change, spki):
                continue
            made = self._keys.sealed(private_key)
            if self._keys.insert(change.connection, made, change.when, change.actor):
                kept += 1
                change.record(
                    AuditEvent.PRIVATE_KEY_MADE,
                    {"imported": result.name, "algorithm": made.algorithm, "public_key_sha256": made.spki_sha256},
                )
        if added or kept:
            change.record(
                AuditEvent.INVENTORY_IMPORTED, {"file": result.name, "certificates": len(added), "keys": kept}
            )
        return added, kept

    @staticmethod
    def _has_certificate(change: Change, spki: bytes) -> bool:
        return rows.key_users(change.connection, hashlib.sha256(spki).hexdigest()) > 0

    def _result(self, name: str, contents: _Contents) -> FileResult:
        public = {
            key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in contents.keys
        }
        found: dict[str, FoundCertificate] = {}
        problems = list(contents.problems)
        with self._changes.database.read() as connection:
            for der in contents.certificates:
                try:
                    view = _readable(der)
                except EncodingError as error:
                    problems.append(f"a certificate cannot be read: {error}")
                    continue
                found[view.sha256] = FoundCertificate(
                    view, view.public_key_info in public, rows.id_of(connection, view.sha256)
                )
        if not found and not problems:
            problems.append("no certificate in it")
        return FileResult(name, tuple(found.values()), len(contents.keys), "; ".join(dict.fromkeys(problems))[:1000])


# -- files -----------------------------------------------------------------------------------------------------------


def _read_all(files: Iterable[ImportFile], password: str) -> Iterator[tuple[str, _Contents]]:
    certificates = total = 0
    for count, (name, data) in enumerate(_unpacked(files), 1):
        total += len(data)
        if count > MAX_FILES or total > MAX_TOTAL:
            raise InvalidArgument(
                f"More than {MAX_FILES} files, or {MAX_TOTAL >> 20} MiB, are too much at once; import them in parts."
            )
        contents = _Contents()
        try:
            _read(name, data, password, contents)
        except (BadRequest, EncodingError) as error:
            contents.problems.append(str(error))
        certificates += len(contents.certificates)
        if certificates > MAX_CERTIFICATES:
            raise InvalidArgument(f"More than {MAX_CERTIFICATES} certificates are too many at once; import in parts.")
        yield name, contents


def _unpacked(files: Iterable[ImportFile]) -> Iterator[tuple[str, bytes]]:
    """The files, and in the place of an archive what lies in it; archives inside archives stay closed."""
    budget = MAX_TOTAL
    for file in files:
        name = _shown(file.name)
        if not zipfile.is_zipfile(io.BytesIO(file.data)) or file.data[:2] != b"PK":
            yield name, file.data
            continue
        if len(file.data) > MAX_TOTAL:
            raise InvalidArgument(f"{name} is larger than {MAX_TOTAL >> 20} MiB; import it in parts.")
        try:
            with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) > MAX_FILES:
                    raise InvalidArgument(
                        f"{name} holds {len(members)} files; at most {MAX_FILES} are taken at once."
                    )
                for member in members:
                    with archive.open(member) as opened:
                        data = opened.read(MAX_FILE + 1)  # what the directory says of its size is not believed
                    budget -= len(data)
                    if budget < 0:
                        raise InvalidArgument(f"{name} grows beyond {MAX_TOTAL >> 20} MiB; import it in parts.")
                    yield f"{name}/{_shown(member.filename)}", data
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise InvalidArgument(
                f"{name} is a damaged or encrypted archive; pack it anew without a password."
            ) from error


def _read(name: str, data: bytes, password: str, into: _Contents) -> None:
    if len(data) > MAX_FILE:
        raise BadRequest(f"larger than {MAX_FILE >> 20} MiB")
    if not data.strip():
        raise BadRequest("empty")
    if b"-----BEGIN" in data:
        _read_pem(data, password, into)
        return
    if data[:1] == b"\x30":
        if name.lower().endswith(_PKCS12) or _looks_like_pfx(data):
            _read_pfx(data, password, into)
            return
        _read_der(data, password, into)
        return
    _read_der(dearmor(data, MAX_FILE), password, into)  # base64 without a header


def _read_pem(data: bytes, password: str, into: _Contents) -> None:
    blocks = 0
    for block in _BLOCK.finditer(data):
        blocks += 1
        if blocks > MAX_CERTIFICATES:
            raise BadRequest(f"more than {MAX_CERTIFICATES} PEM blocks")
        label = block[1]
        if label in _SKIPPED_BLOCKS:
            continue
        try:
            if label in _KEY_BLOCKS:
                into.keys.append(load_key(block[0], password))
            else:
                _read_der(dearmor(block[0], MAX_FILE), password, into)
        except (BadRequest, EncodingError) as error:
            into.problems.append(str(error))
    if not blocks:
        raise BadRequest("its PEM is cut off or damaged")


def _read_der(data: bytes, password: str, into: _Contents) -> None:
    """A certificate, certificates in CMS, or a key."""
    problems: list[str] = []
    try:
        into.certificates.append(_readable(data).der)
    except EncodingError as error:
        problems.append(str(error))
    else:
        return
    try:
        into.certificates.extend(parse_certs_only(data))
    except EncodingError as error:
        problems.append(str(error))
    else:
        return
    try:
        into.keys.append(load_key(data, password))
    except BadRequest:
        raise BadRequest(f"neither a certificate nor certificates in PKCS#7: {problems[0]}") from None


def _read_pfx(data: bytes, password: str, into: _Contents) -> None:
    try:
        loaded = load_pkcs12(data, password.encode() if password else None)
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        why = "the password is wrong, or the file is damaged" if password else "it needs its password"
        raise BadRequest(f"the PFX does not open: {why}") from error
    if loaded.cert is not None:
        into.certificates.append(loaded.cert.certificate.public_bytes(Encoding.DER))
    into.certificates += [each.certificate.public_bytes(Encoding.DER) for each in loaded.additional_certs]
    if loaded.key is not None:
        try:
            into.keys.append(usable_key(loaded.key))
        except BadRequest as error:
            into.problems.append(error.message)


def _looks_like_pfx(data: bytes) -> bool:
    """PFX begins with a version of 3, which no certificate does. RFC 7292 4."""
    return b"\x02\x01\x03\x30" in data[:12]


def _readable(der: bytes) -> CertificateView:
    """A certificate of which the inventory can say everything it says of others.

    Raises:
        EncodingError: it cannot.
    """
    if len(der) > _MAX_CERTIFICATE:
        raise EncodingError(f"a certificate of {len(der)} bytes is too large")
    view = CertificateView.parse(der)
    _ = view.template_name, view.template, view.is_ca, view.subject_key_identifier
    load_public_key(view.public_key_info)
    return view


def _shown(name: str) -> str:
    """A file's name for people: its last parts, printable."""
    text = "".join(char if char.isprintable() else "?" for char in name.replace("\\", "/"))
    return text[-_MAX_NAME:] or "file"
