"""One prepared certificate, one signature, and nothing leaves that reads differently. [MS-WCCE] 3.2.1.4.2.1.4.6."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certwright.adcs.errors import CaUnreachable, ConfigurationError
from certwright.ca.issuance.signing import (
    AlreadyRedeemed,
    CaSigner,
    UnsoundCertificate,
    WrongSigner,
    new_serial_number,
)
from certwright.ca.policy.base import SpecExtension
from certwright.ca.urls import IssuanceUrls
from certwright.keystores.base import PrivateKey, PublicKey, Scheme
from certwright.keystores.software import SoftwareSigningKey
from certwright.pki import der, oids
from certwright.pki.general_names import DnsName, UserPrincipalName
from certwright.pki.public_keys import parse_public_key
from tests.support import requests
from tests.support.certificates import make_certificate
from tests.support.fake_directory import make_template
from tests.support.issuing import NOW, ca_certificate, issue, public_key, signer_for, spec_for, subject


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A key outside this process, whose device may fail."""

    private_key: PrivateKey
    spoils: bool = False
    name: str = "device"
    in_process: bool = False

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key()

    def sign(self, data: bytes, scheme: Scheme) -> bytes:
        return scheme.sign(self.private_key, data + b"!" if self.spoils else data)


def test_a_prepared_certificate_is_signed_once() -> None:
    signer = signer_for()
    prepared = signer.prepare(spec_for(), public_key(), 1)
    signer.redeem(prepared)

    with pytest.raises(AlreadyRedeemed):
        signer.redeem(prepared)


def test_a_prepared_certificate_is_signed_once_by_many_threads() -> None:
    signer = signer_for()
    prepared = signer.prepare(spec_for(), public_key(), 1)

    def attempt(_: int) -> bool:
        try:
            return bool(signer.redeem(prepared))
        except AlreadyRedeemed:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(32))) == 1


def test_only_the_signer_that_prepared_a_certificate_signs_it() -> None:
    """Another CA's signer is refused, and the certificate stays usable by its own."""
    own, other = signer_for(), signer_for(requests.ec_key(number=2))
    prepared = own.prepare(spec_for(), public_key(), 1)

    with pytest.raises(WrongSigner):
        other.redeem(prepared)

    assert own.redeem(prepared)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA"])
def test_the_ca_s_key_verifies_what_it_signed(kind: str) -> None:
    """For every kind of key a CA may have, with the hash of its strength."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    key = requests.rsa_key() if kind == "RSA" else requests.ec_key(kind, 1)
    issuer = x509.load_der_x509_certificate(ca_certificate(key))

    issue(signer_for(key), spec_for()).verify_directly_issued_by(issuer)


def test_facts_are_what_the_certificate_says() -> None:
    """The request table shows what was signed."""
    signer = signer_for()
    sans = (DnsName("web.corp.example"), UserPrincipalName("web@corp.example"))
    begin = NOW.replace(microsecond=999_999)
    spec = spec_for(subject_alternative_names=sans, not_before=begin, not_after=begin + timedelta(days=1))
    prepared = signer.prepare(spec, public_key(), 0xABC)

    certificate = x509.load_der_x509_certificate(signer.redeem(prepared))

    facts = prepared.facts
    assert facts.serial_number == "0abc"
    assert facts.subject == "CN=web.corp.example,O=Corp"
    assert facts.common_name == "web.corp.example"
    assert facts.alternative_names == "DNS:web.corp.example, UPN:web@corp.example"
    assert certificate.not_valid_before_utc == facts.not_before
    assert certificate.not_valid_after_utc == facts.not_after
    found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert found.value.digest.hex() == facts.subject_key_identifier


def test_each_key_usage_and_each_template_object_is_compiled_by_itself() -> None:
    """An edited template is a new object: nothing of the old one may show."""
    signer = signer_for()
    template = make_template()
    edited = replace(template, minor_version=77)

    versions = [
        issue(signer, spec_for(template=used)).extensions.get_extension_for_class(x509.MSCertificateTemplate).value
        for used in (template, edited, template)
    ]
    usages = [
        issue(signer, spec_for(template=template, key_usage=bits)).extensions.get_extension_for_class(x509.KeyUsage)
        for bits in (b"\xa0", b"\x80")
    ]

    assert [version.minor_version for version in versions] == [2, 77, 2]
    assert [usage.value.key_encipherment for usage in usages] == [True, False]


def test_keys_that_arrive_in_other_words_are_certified_as_they_are() -> None:
    """A compressed point is another encoding of the same key: the certificate carries the requester's bytes."""
    point = requests.ec_key().public_key().public_numbers()
    compressed = bytes((2 + (point.y & 1),)) + point.x.to_bytes(32)
    algorithm = der.sequence(der.oid(oids.EC_PUBLIC_KEY), der.oid(oids.CURVE_P256))
    spki = der.sequence(algorithm, der.bit_string(compressed))
    signer = signer_for()
    key = parse_public_key(spki)

    for added in ((), ("1.3.6.1.4.1.99999.1",)):  # by either engine
        spec = spec_for(template=None, extensions=tuple(SpecExtension(oid, False, b"\x05\x00") for oid in added))
        certificate = signer.redeem(signer.prepare(spec, key, 1))
        assert spki in certificate


# -- what must not leave ---------------------------------------------------------------------------------------------


def test_a_device_that_signs_something_else_is_found_out() -> None:
    """A signature that came from outside is verified before the certificate is handed on."""
    key = requests.ec_key(number=1)
    signer = CaSigner(ca_certificate(key), 0, 0, DeviceKey(key, spoils=True), IssuanceUrls())
    prepared = signer.prepare(spec_for(), public_key(), 1)

    with pytest.raises(UnsoundCertificate, match="does not verify"):
        signer.redeem(prepared)


def test_a_device_that_works_issues() -> None:
    key = requests.ec_key(number=1)
    signer = CaSigner(ca_certificate(key), 0, 0, DeviceKey(key), IssuanceUrls())

    assert not signer.in_process
    assert issue(signer, spec_for())


@pytest.mark.parametrize("field", ["serial", "subject", "public_key_info", "tbs"])
def test_a_certificate_that_reads_differently_than_prepared_is_kept_back(field: str) -> None:
    """Serial number, subject, key and the whole are compared with what a second parser reads."""
    signer = signer_for()
    prepared = signer.prepare(spec_for(), public_key(), 1)
    wrong: dict[str, object] = {
        "serial": 2,
        "subject": subject("other.corp.example"),
        "public_key_info": requests.spki(requests.ec_key(number=9)),
        "tbs": prepared.tbs.replace(b"Z\x17", b"X\x17", 1),  # a time that is none
    }
    setattr(prepared, field, wrong[field])

    with pytest.raises(UnsoundCertificate):
        signer.redeem(prepared)


def test_a_signer_wants_the_key_of_its_certificate() -> None:
    """A restored key file under the wrong name must not sign."""
    key = SoftwareSigningKey("wrong", requests.ec_key(number=2))

    with pytest.raises(CaUnreachable, match="the key wrong is not the one"):
        CaSigner(ca_certificate(requests.ec_key(number=1)), 0, 0, key, IssuanceUrls())


def test_a_signer_wants_a_ca_certificate() -> None:
    key = requests.ec_key(number=1)

    with pytest.raises(ConfigurationError, match="no CA certificate"):
        CaSigner(make_certificate(key=key), 0, 0, SoftwareSigningKey("leaf", key), IssuanceUrls())


# -- serial numbers --------------------------------------------------------------------------------------------------


def test_serial_numbers_are_long_positive_and_different() -> None:
    """16 to 19 octets, the first never 0, the top bit never set. RFC 5280 4.1.2.2."""
    serials = [new_serial_number() for _ in range(3000)]

    encoded = [der.integer(serial)[2:] for serial in serials]
    assert {16, 17, 18, 19} == set(map(len, encoded))
    assert all(1 <= content[0] < 0x80 for content in encoded)
    assert len(serials) == len(set(serials))
