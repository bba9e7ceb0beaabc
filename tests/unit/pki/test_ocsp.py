"""OCSP messages. RFC 6960 4, RFC 9654. Requests come from another library and from OpenSSL; both read our answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as peer
from hypothesis import given
from hypothesis import strategies as some

from certwright.pki import der, ocsp, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.ocsp import ResponseSigner, ResponseStatus
from certwright.pki.signatures import Signer
from tests.support.certificates import ca_certificate, make_certificate
from tests.support.programs import openssl
from tests.support.requests import ec_key, rsa_key

CA = CertificateView.parse(ca_certificate())
LEAF = make_certificate()
SERIAL = CertificateView.parse(LEAF).serial
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=12)


def asked(algorithm: hashes.HashAlgorithm | None = None, nonce: bytes | None = None) -> bytes:
    """A request as `cryptography` makes it."""
    builder = peer.OCSPRequestBuilder().add_certificate(
        x509.load_der_x509_certificate(LEAF),
        x509.load_der_x509_certificate(CA.der),
        algorithm or hashes.SHA1(),
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


# -- requests


@pytest.mark.parametrize(("algorithm", "oid"), [(hashes.SHA1(), oids.SHA1), (hashes.SHA256(), oids.SHA256)])
def test_a_request_names_issuer_and_serial_number(algorithm: hashes.HashAlgorithm, oid: str) -> None:
    """RFC 6960 4.1.1: hashes of the issuer's name and of its key's bits."""
    read = ocsp.parse_request(asked(algorithm))

    assert len(read.cert_ids) == 1
    assert read.cert_ids[0].serial == SERIAL
    assert read.cert_ids[0].hash_oid == oid
    assert (read.cert_ids[0].name_hash, read.cert_ids[0].key_hash) == ocsp.issuer_hashes(CA, oid)
    assert read.nonce is None
    assert not read.is_signed


def test_several_certificates_are_asked_for_at_once(tmp_path: Path) -> None:
    """OpenSSL reads what we write, and the other way round."""
    ours = ocsp.encode_request([ocsp.cert_id(CA, serial) for serial in (1, 2, 3)], b"n" * 32)
    path = tmp_path / "request.der"
    path.write_bytes(ours)

    text = openssl("ocsp", "-reqin", str(path), "-req_text")

    assert [each.serial for each in ocsp.parse_request(ours).cert_ids] == [1, 2, 3]
    assert text.count("Serial Number:") == 3
    assert "OCSP Nonce" in text


def test_certificate_ids_we_make_are_those_that_clients_send() -> None:
    usual = next(iter(ocsp.usual_cert_ids(CA, [SERIAL])))

    assert ocsp.parse_request(asked()).cert_ids == (usual,)
    assert usual.der == ocsp.cert_id(CA, SERIAL)


@pytest.mark.parametrize("length", [1, 16, 32, 128])
def test_a_nonce_is_given_back_as_it_came(length: int) -> None:
    """RFC 9654 2.1: an OCTET STRING in the extension's OCTET STRING."""
    nonce = bytes(range(length))

    assert ocsp.parse_request(asked(nonce=nonce)).nonce == der.octet_string(nonce)


@pytest.mark.parametrize("value", [b"", der.octet_string(b""), der.octet_string(bytes(129)), b"\xff" * 129])
def test_a_nonce_that_is_empty_or_too_long_makes_the_request_malformed(value: bytes) -> None:
    """RFC 9654 2.1."""
    request = with_extensions(der.sequence(der.oid(oids.OCSP_NONCE), der.octet_string(value)))

    with pytest.raises(EncodingError, match="nonce"):
        ocsp.parse_request(request)


def test_bare_octets_are_a_nonce_too() -> None:
    """Clients older than RFC 6960 leave the inner OCTET STRING out; some bytes only look like one."""
    for bare in (b"\x01" * 16, b"\x04\x99" + bytes(14)):
        request = with_extensions(der.sequence(der.oid(oids.OCSP_NONCE), der.octet_string(bare)))
        assert ocsp.parse_request(request).nonce == bare


def test_critical_extensions_are_told_and_others_are_not() -> None:
    other = der.sequence(der.oid("1.2.3.4"), der.octet_string(b"x"))
    critical = der.sequence(der.oid("1.2.3.5"), der.boolean(True), der.octet_string(b"x"))

    assert ocsp.parse_request(with_extensions(other)).critical == ()
    assert ocsp.parse_request(with_extensions(other + critical)).critical == ("1.2.3.5",)


def with_extensions(extensions: bytes, version: bytes = b"", cert_id: bytes = b"") -> bytes:
    requests = der.sequence(der.sequence(cert_id or ocsp.cert_id(CA, 7)))
    tail = der.explicit(2, der.tlv(der.SEQUENCE, extensions)) if extensions else b""
    return der.sequence(der.sequence(version, requests, tail))


def id_with(parameters: bytes, serial: bytes = b"\x02\x01\x07") -> bytes:
    algorithm = der.sequence(der.oid(oids.SHA1), parameters)
    return der.sequence(algorithm, der.octet_string(bytes(20)), der.octet_string(bytes(20)), serial)


MALFORMED = {
    "nothing": b"",
    "not DER": b"GET / HTTP/1.1",
    "something behind": asked() + b"\x00",
    "version 2": with_extensions(b"", der.explicit(0, der.integer(1))),
    "no certificate": der.sequence(der.sequence(der.sequence())),
    "an empty message": der.sequence(),
    "parameters of a hash": with_extensions(b"", cert_id=id_with(der.integer(1))),
    "a null with contents": with_extensions(b"", cert_id=id_with(b"\x05\x01\x00")),
    "an endless serial number": with_extensions(b"", cert_id=id_with(b"", der.tlv(2, b"\x01" * 40))),
    "an empty serial number": with_extensions(b"", cert_id=id_with(b"", b"\x02\x00")),
    "an extension twice": with_extensions(der.sequence(der.oid("1.2.3"), der.octet_string(b"")) * 2),
    "indefinite length": b"\x30\x80" + asked()[2:] + b"\x00\x00",
}


@pytest.mark.parametrize("request_der", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_refused(request_der: bytes) -> None:
    with pytest.raises(EncodingError):
        ocsp.parse_request(request_der)


def test_a_request_that_is_cut_off_anywhere_is_refused() -> None:
    whole = asked(nonce=bytes(32))
    for length in range(len(whole)):
        with pytest.raises(EncodingError):
            ocsp.parse_request(whole[:length])


def test_no_more_than_a_bounded_number_of_certificates_is_read() -> None:
    """Ten thousand in one message cost what the first few cost."""
    one = ocsp.cert_id(CA, 7)

    assert len(ocsp.parse_request(ocsp.encode_request([one] * ocsp.MAX_CERT_IDS)).cert_ids) == ocsp.MAX_CERT_IDS
    with pytest.raises(ocsp.TooManyCertIds):
        ocsp.parse_request(ocsp.encode_request([one] * 10_000))


@given(some.integers(0, 200), some.binary(min_size=1, max_size=3))
def test_whatever_is_read_is_read_or_refused(place: int, put: bytes) -> None:
    whole = bytearray(asked(nonce=bytes(32)))
    whole[place : place + len(put)] = put
    try:
        read = ocsp.parse_request(bytes(whole))
    except EncodingError:
        return
    assert read.cert_ids


@given(some.data())
def test_the_short_way_reads_what_the_long_way_reads(data: some.DataObject) -> None:
    """Usual requests are read by a way of their own; whatever it takes, it takes as the other one does."""
    serial = data.draw(some.integers(1, 1 << 159))
    nonce = data.draw(some.none() | some.binary(min_size=1, max_size=128))
    oid = data.draw(some.sampled_from([oids.SHA1, oids.SHA256]))
    request = bytearray(ocsp.encode_request([ocsp.cert_id(CA, serial, oid)], nonce))
    if data.draw(some.booleans()):
        request[data.draw(some.integers(0, len(request) - 1))] = data.draw(some.integers(0, 255))

    def outcome(read: Callable[[bytes], object]) -> object:
        try:
            return read(bytes(request))
        except EncodingError:
            return "refused"

    assert outcome(ocsp.parse_request) == outcome(ocsp._parse_request)


def test_usual_requests_are_read_the_short_way() -> None:
    for request in (asked(), asked(hashes.SHA256()), asked(nonce=bytes(32)), asked(nonce=bytes(16))):
        assert ocsp._usual_request(request) is not None


# -- responses


def signed(status: bytes, *, by_name: bool = False, send: bool = True, extensions: bytes = b"") -> bytes:
    key = ec_key("P-256", 100)
    signer = ResponseSigner.of(Signer.of(key), CA, by_name=by_name, send=send)
    cert_id = ocsp.parse_request(asked()).cert_ids[0]
    return signer.response(NOW, ocsp.single_response(cert_id.der, status, NOW, LATER), extensions)


def test_a_good_answer_is_read_by_another_library() -> None:
    read = peer.load_der_ocsp_response(signed(ocsp.GOOD))

    assert read.response_status is peer.OCSPResponseStatus.SUCCESSFUL
    assert read.certificate_status is peer.OCSPCertStatus.GOOD
    assert read.serial_number == SERIAL
    assert read.produced_at_utc == NOW
    assert (read.this_update_utc, read.next_update_utc) == (NOW, LATER)
    assert read.responder_key_hash == CA.public_key.key_identifier
    assert [each.public_bytes(Encoding.DER) for each in read.certificates] == [CA.der]
    key = ec_key("P-256", 100).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(read.signature, read.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(("reason", "flag"), [(0, None), (1, x509.ReasonFlags.key_compromise)])
def test_a_revoked_answer_has_its_time_and_its_reason_but_no_reason_zero(
    reason: int, flag: x509.ReasonFlags | None
) -> None:
    """RFC 5280 5.3.1: unspecified is not written."""
    read = peer.load_der_ocsp_response(signed(ocsp.revoked(NOW - timedelta(days=1), reason)))

    assert read.certificate_status is peer.OCSPCertStatus.REVOKED
    assert read.revocation_time_utc == NOW - timedelta(days=1)
    assert read.revocation_reason == flag


def test_answers_name_their_signer_as_they_are_told() -> None:
    read = peer.load_der_ocsp_response(signed(ocsp.UNKNOWN, by_name=True, send=False))

    assert read.certificate_status is peer.OCSPCertStatus.UNKNOWN
    assert read.responder_name == x509.load_der_x509_certificate(CA.der).subject
    assert read.certificates == []


def test_extensions_of_an_answer_are_read_by_another_library() -> None:
    nonce = ocsp.nonce_extension(der.octet_string(b"n" * 32))

    read = peer.load_der_ocsp_response(signed(ocsp.GOOD, extensions=nonce + ocsp.extended_revoke()))

    assert read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    assert oids.OCSP_EXTENDED_REVOKE in {each.oid.dotted_string for each in read.extensions}


def test_openssl_verifies_an_answer_with_an_rsa_key(tmp_path: Path) -> None:
    key = rsa_key()
    ca = make_certificate("CN=RSA CA", key, issuer="CN=RSA CA", issuer_key=key)
    view = CertificateView.parse(ca)
    signer = ResponseSigner.of(Signer.of(key), view, send=False)
    cert_id = ocsp.cert_id(view, 7)
    answer = signer.response(NOW, ocsp.single_response(cert_id, ocsp.GOOD, NOW, LATER, ocsp.archive_cutoff(NOW)))
    for name, data in (("answer.der", answer), ("request.der", ocsp.encode_request([cert_id]))):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "ca.der").write_bytes(ca)

    text = openssl(
        *("ocsp", "-respin", str(tmp_path / "answer.der"), "-reqin", str(tmp_path / "request.der"), "-resp_text"),
        *("-issuer", str(tmp_path / "ca.der"), "-noverify"),
    )

    assert "Cert Status: good" in text
    assert "Archive Cutoff" in text
    assert "sha256WithRSAEncryption" in text


@pytest.mark.parametrize("status", [status for status in ResponseStatus if status is not ResponseStatus.SUCCESSFUL])
def test_an_error_is_five_bytes(status: ResponseStatus) -> None:
    """RFC 6960 2.3."""
    made = ocsp.error_response(status)

    assert len(made) == 5
    assert peer.load_der_ocsp_response(made).response_status.value == status
