"""tls-server-end-point and its hash inside NTLM and Kerberos. RFC 5929 4, [MS-NLMP] 2.2.2.1, RFC 4121 4.1.1."""

from __future__ import annotations

import hashlib

import pytest
import spnego
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519

from certwright.pki import channel_binding
from certwright.pki.errors import EncodingError
from tests.support import requests
from tests.support.certificates import Hash, make_certificate

PREFIX = b"tls-server-end-point:"


@pytest.mark.parametrize(
    ("certificate_hash", "binding"),
    [
        (
            "ea05fefecc6b0bd571dbbc5baa3ed45386d0446835f7b74c85621b9983475f95",
            "6586e99d81c2fc984e47172fd4dd0310",
        ),
        (
            "e3ca49271e5089cc48ce82109f1324f41dbeddc29a777410c738f7868c4ff405",
            "6ea19df066da4622051f9c4f92c6df74",
        ),
    ],
)
def test_the_hash_is_that_of_the_published_vectors(certificate_hash: str, binding: str) -> None:
    data = PREFIX + bytes.fromhex(certificate_hash)
    assert channel_binding.gss_channel_bindings_hash(data).hex() == binding


def test_the_hash_is_over_the_structure_the_other_implementation_packs() -> None:
    """RFC 4121 4.1.1.2: address types and lengths are zero."""
    data = PREFIX + bytes(32)
    packed = spnego.channel_bindings.GssChannelBindings(application_data=data).pack()
    assert channel_binding.gss_channel_bindings_hash(data) == hashlib.md5(packed).digest()


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_the_certificates_own_hash_is_used(algorithm: Hash) -> None:
    """RFC 5929 4.1."""
    for key, pss in ((requests.rsa_key(), False), (requests.rsa_key(), True), (requests.ec_key(), False)):
        made = make_certificate(issuer_key=key, hash_algorithm=algorithm, pss=pss)
        expected = PREFIX + hashlib.new(algorithm.name, made).digest()
        assert channel_binding.tls_server_end_point(made) == expected


@pytest.mark.parametrize(
    "oid",
    ["1.2.840.113549.1.1.5", "1.2.840.113549.1.1.4", "1.2.840.10045.4.1"],
    ids=["RSA SHA-1", "MD5", "ECDSA SHA-1"],
)
def test_md5_and_sha1_are_replaced_by_sha256(oid: str) -> None:
    made = requests.sequence(requests.sequence(), requests.sequence(requests.oid(oid)), requests.tlv(0x03, b"\0"))
    assert channel_binding.tls_server_end_point(made) == PREFIX + hashlib.sha256(made).digest()


def test_pss_without_parameters_is_sha1_and_so_replaced() -> None:
    algorithm = requests.sequence(requests.oid("1.2.840.113549.1.1.10"), requests.sequence())
    made = requests.sequence(requests.sequence(), algorithm, requests.tlv(0x03, b"\0"))
    assert channel_binding.tls_server_end_point(made) == PREFIX + hashlib.sha256(made).digest()


def test_a_signature_without_a_hash_has_no_binding() -> None:
    with pytest.raises(EncodingError):
        channel_binding.tls_server_end_point(make_certificate(issuer_key=ed25519.Ed25519PrivateKey.generate()))
    with pytest.raises(EncodingError):
        channel_binding.tls_server_end_point(b"\x30\x00")
