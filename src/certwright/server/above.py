"""What CAs elsewhere send by file: their certificates and CRLs, put where certificates below them say they lie.

A root without a network cannot publish anything. Its CRL is carried here and served from /CertEnroll/ under the name
that the CDP of the certificate it signed has. A CRL is taken only from a CA above one of ours, whole, signed by that
CA, not expired, and never an older one than is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from certwright.adcs.errors import BadRequest, ConfigurationError
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import Requester
from certwright.ca.database import CaRecord
from certwright.ca.revocation.publication import FolderTarget
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.extensions import decode_authority_information_access, decode_crl_distribution_points
from certwright.pki.general_names import Uri
from certwright.server.composition import Installation

_CERT_ENROLL: Final = "/certenroll/"


def publish_certificates(installation: Installation, record: CaRecord) -> list[str]:
    """Put the certificates of the CAs elsewhere above one of ours where the AIA of those below leads; the files."""
    written: list[str] = []
    for below, above in _pairs(record):
        access = below.extensions.get(oids.AUTHORITY_INFORMATION_ACCESS)
        found = decode_authority_information_access(access.value) if access is not None else ()
        urls = [place.value for method, place in found if method == oids.ACCESS_CA_ISSUERS and isinstance(place, Uri)]
        for name in _file_names(urls):
            FolderTarget(installation.home.published).put(name, above.der)
            written.append(name)
    return written


def import_crl(installation: Installation, der: bytes, actor: Requester) -> tuple[CrlView, tuple[str, ...]]:
    """Publish the CRL of a CA elsewhere that stands above one of ours; the CRL and its files.

    Raises:
        BadRequest: it is no CRL.
        ConfigurationError: no CA above ours signed it, it has expired, an older one would replace a newer one, or no
            certificate says that it lies here.
    """
    try:
        crl = CrlView.parse(der)
    except EncodingError as error:
        raise BadRequest(f"this is no CRL: {error}") from error
    record, below = _issued_by(installation, crl)
    now = installation.clock()
    if crl.next_update is not None and crl.next_update <= now:
        raise ConfigurationError(
            f"this CRL ended at {crl.next_update:%Y-%m-%d %H:%M}Z: fetch a newer one from {crl.issuer_name}"
        )
    points = below.extensions.get(oids.FRESHEST_CRL if crl.is_delta else oids.CRL_DISTRIBUTION_POINTS)
    urls = decode_crl_distribution_points(points.value) if points is not None else ()
    names = _file_names(urls)
    if not names:
        raise ConfigurationError(
            f"the certificate of {below.subject_name} does not say that this CRL lies at /CertEnroll/ of a server: it"
            f" names {', '.join(urls) or 'no place'}"
        )
    for name in names:
        _refuse_older(installation.home.published / name, crl)
    for name in names:
        FolderTarget(installation.home.published).put(name, der)
    authority = installation.ca(record.name).authority
    with authority.transaction() as transaction:
        authority.audit(
            transaction,
            AuditEvent.CA_ABOVE_IMPORTED,
            now,
            actor.account,
            issuer=crl.issuer_name,
            number=crl.number or 0,
            next_update=crl.next_update.isoformat() if crl.next_update is not None else "",
            files=", ".join(names),
        )
    authority.notify_exits()
    return crl, tuple(names)


def imported_crls(installation: Installation) -> Iterator[tuple[CaRecord, str, CrlView]]:
    """The CRLs of CAs elsewhere as they lie here: the CA of ours that stands below, the file, and the list."""
    for record in installation.records():
        seen: set[str] = set()
        for below, _ in _pairs(record):
            for oid in (oids.CRL_DISTRIBUTION_POINTS, oids.FRESHEST_CRL):
                points = below.extensions.get(oid)
                for name in _file_names(decode_crl_distribution_points(points.value)) if points is not None else ():
                    if name in seen:
                        continue
                    seen.add(name)
                    try:
                        yield record, name, CrlView.parse((installation.home.published / name).read_bytes())
                    except (FileNotFoundError, EncodingError):
                        continue


def _issued_by(installation: Installation, crl: CrlView) -> tuple[CaRecord, CertificateView]:
    """The CA of ours that stands below the CRL's issuer, and the certificate that issuer signed."""
    for record in installation.records():
        for below, above in _pairs(record):
            if above.subject != crl.issuer:
                continue
            try:
                crl.verify_signed_by(above)
            except SignatureError:
                continue
            return record, below
    raise ConfigurationError(
        f"no CA of this installation stands below the one that signed this CRL ({crl.issuer_name}); only CRLs of CAs"
        " above ours, which sign elsewhere, are taken"
    )


def _pairs(record: CaRecord) -> Iterator[tuple[CertificateView, CertificateView]]:
    """Each certificate with the one above it, where that came by file; the newest of the CA's own first."""
    for certificate in sorted(record.certificates, key=lambda each: each.index, reverse=True):
        below = CertificateView.parse(certificate.der)
        for der in certificate.chain:
            above = CertificateView.parse(der)
            yield below, above
            below = above


def _refuse_older(path: Path, crl: CrlView) -> None:
    try:
        there = CrlView.parse(path.read_bytes())
    except (FileNotFoundError, EncodingError):
        return
    same = there.issuer == crl.issuer and there.authority_key_identifier == crl.authority_key_identifier
    before, after = (
        (there.number, crl.number) if there.number and crl.number else (there.this_update, crl.this_update)
    )
    if same and before > after:  # type: ignore[operator]
        raise ConfigurationError(f"{path.name} holds a newer CRL already ({before}); this one is {after}")


def _file_names(urls: Sequence[str]) -> list[str]:
    """The last parts of those URLs that lead to a /CertEnroll/."""
    found: list[str] = []
    for url in urls:
        parts = urlsplit(url)
        name = unquote(parts.path[len(_CERT_ENROLL) :])
        inside = parts.scheme == "http" and parts.path.lower().startswith(_CERT_ENROLL)
        if inside and name and "/" not in name and "\\" not in name and name not in found:
            found.append(name)
    return found
