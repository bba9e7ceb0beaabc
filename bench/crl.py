"""A CRL of 100,000 entries: ours puts stored entries together, the other way encodes each anew.

The reference is `cryptography`'s builder with the list given to its constructor, the fastest way it has; adding the
entries one by one takes time with the square of their number.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.issuing import ca_certificate

from bench.measure import Contender, Ratio, Suite, WrongResult, in_process
from certwright.adcs.roles import RevocationReason
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import RevokedEntry
from certwright.ca.issuance.signing import CaSigner
from certwright.ca.revocation.crl import CrlTiming, make_crl
from certwright.ca.urls import IssuanceUrls
from certwright.keystores.software import SoftwareSigningKey
from certwright.pki.crl import encode_entry

ENTRIES: Final = 100_000
OF_BUILDER: Final = 10.0
_FIRST_SERIAL: Final = 0x7A << 144
_NOW: Final = datetime.now(UTC).replace(microsecond=0)


def suite() -> Suite:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_der_x509_certificate(ca_certificate(key))
    signer = CaSigner(issuer.public_bytes(Encoding.DER), 0, 0, SoftwareSigningKey("issuing", key), IssuanceUrls())
    stored = [
        RevokedEntry(serial, _NOW, RevocationReason.KEY_COMPROMISE, encode_entry(serial, _NOW, 1))
        for serial in range(_FIRST_SERIAL, _FIRST_SERIAL + ENTRIES)
    ]
    timing = CrlTiming.of(_NOW, CaConfiguration.load({}), _NOW - timedelta(days=1))

    def ours(number: int) -> bytes:
        return make_crl(signer, stored, number + 1, timing).der

    def builder(number: int) -> x509.CertificateRevocationList:
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        revoked = [
            x509.RevokedCertificateBuilder()
            .serial_number(entry.serial_number)
            .revocation_date(_NOW)
            .add_extension(reason, False)
            .build()
            for entry in stored
        ]
        return x509.CertificateRevocationListBuilder(
            issuer.subject, _NOW, _NOW + timedelta(days=7), [], revoked
        ).sign(key, hashes.SHA256())

    def check() -> None:
        made = x509.load_der_x509_crl(ours(0))
        if not made.is_signature_valid(key.public_key()) or len(made) != ENTRIES:
            raise WrongResult("the CRL does not verify, or entries are missing")
        last = made.get_revoked_certificate_by_serial_number(_FIRST_SERIAL + ENTRIES - 1)
        if last is None or last.extensions[0].value != x509.CRLReason(x509.ReasonFlags.key_compromise):
            raise WrongResult("the last entry is missing, or another one")

    return Suite(
        f"CRL of {ENTRIES:,} entries",
        [
            Contender("from stored entries", in_process("", ours).run, check),
            in_process("builder", builder),
        ],
        [Ratio("from stored entries: of the builder", "from stored entries", "builder", OF_BUILDER)],
        notes=["signature and its verification included, reading the entries from the database not"],
    )
