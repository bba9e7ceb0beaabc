"""What a CRL says and when: one base CRL, and one delta CRL, for each key of the CA. [MS-CSRA] 3.1.4.1.6, RFC 5280 5.

Which certificates are on it is the database's answer (`CaDatabase.revoked`, `revoked_since`); their entries were
encoded when they were revoked and are only put together here. A list of any length passes through in pieces.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Final

from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaRecord, CrlRecord, EncodedEntries, RevokedEntry
from certwright.ca.issuance.preparing import whole_seconds
from certwright.ca.issuance.signing import CaSigner, UnsoundCertificate
from certwright.pki.crl import MEMORY_LIMIT, CrlHead, CrlView, crl_extensions, write_crl
from certwright.pki.errors import EncodingError, SignatureError

MAX_AUTOMATIC_OVERLAP: Final = timedelta(hours=12)
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class CrlTiming:
    """The times of one CRL, whole seconds."""

    this_update: datetime
    next_update: datetime
    next_publish: datetime

    @classmethod
    def of(
        cls, now: datetime, configuration: CaConfiguration, not_before: datetime, *, delta: bool = False
    ) -> CrlTiming:
        """[MS-CSRA] 3.1.4.1.6: thisUpdate is dated back by the skew, but not before the CA's own certificate.

        nextUpdate = now + period + overlap + skew. An overlap nobody configured is a tenth of the period, at most
        12 hours, at least one and a half skews, at most the period, and one skew more. Of a delta CRL it is its
        period, at most 12 hours, at least one and a half skews, at most the period of a base CRL, and one skew more.
        """
        skew = configuration.clock_skew
        base_period = configuration.crl_period.after(now) - now
        delta_period = configuration.delta_crl_period
        next_publish = delta_period.after(now) if delta and delta_period is not None else now + base_period
        period = next_publish - now
        if delta:
            overlap = min(max(min(period, MAX_AUTOMATIC_OVERLAP), 1.5 * skew), base_period) + skew
        elif configuration.crl_overlap is None:
            overlap = min(max(min(period / 10, MAX_AUTOMATIC_OVERLAP), 1.5 * skew), period) + skew
        else:
            overlap = configuration.crl_overlap.length(next_publish)
        return cls(
            this_update=whole_seconds(max(now - skew, not_before)),
            next_update=whole_seconds(next_publish + overlap + skew),
            next_publish=whole_seconds(next_publish),
        )


def certificates_by_key(record: CaRecord, now: datetime) -> dict[int, CaCertificateRecord]:
    """The newest certificate of each key that still needs a CRL: until its last certificate expires.

    [MS-CSRA] 3.1.4.1.6 makes one CRL a key, not one a certificate.
    """
    newest: dict[int, CaCertificateRecord] = {}
    for certificate in sorted(record.certificates, key=lambda certificate: certificate.index):
        newest[certificate.key_index] = certificate
    alive = {certificate.key_index for certificate in record.certificates if certificate.not_after > now}
    return {key_index: newest[key_index] for key_index in sorted(alive)}


@dataclass(frozen=True, slots=True)
class DeltaBase:
    """What a delta CRL stands on: the base whose number it names, and since when it says what changed."""

    number: int
    since: datetime

    @classmethod
    def among(cls, bases: Sequence[CrlRecord], now: datetime) -> DeltaBase:
        """Choose among the base CRLs of a key that have not ended, oldest first. [MS-CSRA] 3.1.4.1.6.

        Clients have a base for certain once its overlap has passed: of those the newest counts; before there is one,
        the oldest that is still good. The changes begin with the oldest, so that whoever holds any of them misses
        none.
        """
        propagated = [base for base in bases if base.this_update + (base.next_update - base.next_publish) <= now]
        chosen = max(propagated, key=lambda base: base.this_update) if propagated else bases[0]
        return cls(chosen.number, min(base.this_update for base in bases))


def make_crl(
    signer: CaSigner,
    entries: Iterable[RevokedEntry | EncodedEntries],
    number: int,
    timing: CrlTiming,
    *,
    base_number: int | None = None,
    partition: int = 0,
) -> CrlRecord:
    """A CRL, signed, and verified before anybody gets it. A base names its delta CRL, where there are any.

    Args:
        base_number: makes it a delta CRL of that base.
        partition: whose CRL it is; it says so by the URLs that its certificates name. RFC 5280 5.2.5.

    Raises:
        UnsoundCertificate: it does not verify.
    """
    urls = signer.urls(partition)
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_LIMIT) as spool:
        count = 0
        for entry in entries:
            spool.write(entry.encoded)
            count += entry.entries
        length = spool.tell()
        spool.seek(0)
        out = io.BytesIO()
        write_crl(
            out,
            CrlHead(signer.certificate.subject, timing.this_update, timing.next_update),
            _chunks(spool),
            length,
            crl_extensions(
                authority_key_id=signer.issuing_certificate.key_identifier or b"",
                number=number,
                certificate_index=signer.certificate_index,
                key_index=signer.key_index,
                base_number=base_number,
                next_publish=timing.next_publish,
                freshest_crl=urls.freshest if base_number is None else (),
                distribution_point=urls.cdp if partition else (),
            ),
            signer.crl_signer,
        )
    der = out.getvalue()
    try:
        CrlView.parse(der).verify_signed_by(signer.certificate)
    except (EncodingError, SignatureError) as error:
        raise UnsoundCertificate(
            f"CRL {number} of {signer.certificate.subject_name} is not sound: {error}"
        ) from error
    return CrlRecord(
        number=number,
        min_base=base_number or 0,
        key_index=signer.key_index,
        this_update=timing.this_update,
        next_update=timing.next_update,
        next_publish=timing.next_publish,
        entry_count=count,
        der=der,
        partition=partition,
    )


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk
