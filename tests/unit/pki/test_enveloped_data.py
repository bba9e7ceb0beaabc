"""Encrypted CMS: opened as OpenSSL makes it, made as OpenSSL opens it, and silent about why it does not open."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from certwright.pki import armor, der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.enveloped_data import STRONG, ContentCipher, EnvelopedData, KeyTransport, NotOpened, seal
from certwright.pki.errors import EncodingError, WeakAlgorithm
from tests.support import programs
from tests.support.certificates import make_certificate
from tests.support.requests import ec_key, rsa_key

KEY = rsa_key()
CERTIFICATE = CertificateView.parse(make_certificate(key=KEY))
CONTENT = b"what is secret\r\n" * 33
OPENSSL_CIPHERS = {
    ContentCipher.AES_128: "-aes-128-cbc",
    ContentCipher.AES_192: "-aes-192-cbc",
    ContentCipher.AES_256: "-aes-256-cbc",
    ContentCipher.TRIPLE_DES: "-des-ede3-cbc",
}


def opened(made: bytes, allowed: frozenset[ContentCipher] = frozenset(ContentCipher)) -> bytes:
    enveloped = EnvelopedData.parse(made)
    recipient = enveloped.recipient_of(CERTIFICATE)
    assert recipient is not None
    return enveloped.open(recipient, KEY, allowed)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "recipient.pem", tmp_path / "recipient.key"
    certificate.write_text(armor.armor(armor.CERTIFICATE, CERTIFICATE.der))
    key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


# -- against OpenSSL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", KeyTransport, ids=lambda each: each.name)
@pytest.mark.parametrize("cipher", OPENSSL_CIPHERS, ids=lambda each: each.name)
def test_openssl_opens_what_we_make(
    tmp_path: Path, files: tuple[Path, Path], cipher: ContentCipher, transport: KeyTransport
) -> None:
    made, out = tmp_path / "made.der", tmp_path / "out"
    made.write_bytes(seal(CONTENT, CERTIFICATE, cipher, transport))

    programs.openssl(
        "cms", "-decrypt", "-binary", "-inform", "DER", "-in", made, "-out", out,
        "-recip", files[0], "-inkey", files[1],
    )  # fmt: skip

    assert out.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "form",
    [
        [],
        ["-stream", "-indef"],
        ["-keyid"],
        ["-keyopt", "rsa_padding_mode:oaep"],
        ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"],
    ],
    ids=["DER", "BER", "key identifier", "OAEP", "OAEP with SHA-256"],
)
@pytest.mark.parametrize("cipher", OPENSSL_CIPHERS, ids=lambda each: each.name)
def test_what_openssl_makes_opens(
    tmp_path: Path, files: tuple[Path, Path], cipher: ContentCipher, form: list[str]
) -> None:
    source, made = tmp_path / "content", tmp_path / "made.der"
    source.write_bytes(CONTENT * 100)
    certificate = files[0]
    ours = CERTIFICATE
    if "-keyid" in form:  # which needs the extension
        from cryptography import x509

        identifier = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
        ours = CertificateView.parse(make_certificate(key=KEY, extensions=[(identifier, False)]))
        certificate.write_text(armor.armor(armor.CERTIFICATE, ours.der))

    programs.openssl(
        "cms", "-encrypt", "-binary", "-outform", "DER", "-in", source, "-out", made,
        OPENSSL_CIPHERS[cipher], "-recip", certificate, *form,
    )  # fmt: skip

    enveloped = EnvelopedData.parse(made.read_bytes())
    recipient = enveloped.recipient_of(ours)
    assert recipient is not None
    assert enveloped.open(recipient, KEY, frozenset(OPENSSL_CIPHERS)) == CONTENT * 100


# -- what is allowed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", ContentCipher, ids=lambda each: each.name)
def test_what_we_make_opens(cipher: ContentCipher) -> None:
    assert opened(seal(CONTENT, CERTIFICATE, cipher)) == CONTENT


@pytest.mark.parametrize("cipher", [each for each in ContentCipher if each not in STRONG])
def test_a_weak_cipher_is_read_only_where_it_is_allowed(cipher: ContentCipher) -> None:
    with pytest.raises(WeakAlgorithm, match="not accepted"):
        opened(seal(CONTENT, CERTIFICATE, cipher), STRONG)


def test_nothing_is_encrypted_to_an_elliptic_curve_key() -> None:
    with pytest.raises(WeakAlgorithm, match="not RSA"):
        seal(CONTENT, CertificateView.parse(make_certificate(key=ec_key())))


def test_an_unknown_cipher_is_refused() -> None:
    made = seal(CONTENT, CERTIFICATE).replace(der.oid(oids.AES128_CBC), der.oid(oids.AES256_GCM))
    with pytest.raises(WeakAlgorithm, match="AES-256-GCM"):
        EnvelopedData.parse(made)


# -- why it does not open is nobody's business -----------------------------------------------------------------------


def broken_ways() -> dict[str, EnvelopedData]:
    """Wrong padding of the key, a key of the wrong length, another key, wrong padding of the contents, cut off."""
    from cryptography.hazmat.primitives.asymmetric import padding

    good = EnvelopedData.parse(seal(CONTENT, CERTIFICATE))
    recipient = good.recipients[0]
    public = KEY.public_key()

    def with_key(encrypted: bytes) -> EnvelopedData:
        return replace(good, recipients=(replace(recipient, encrypted_key=encrypted),))

    return {
        "padding of the key": with_key(pow(3, 65537, public.public_numbers().n).to_bytes(256)),
        "key too short": with_key(public.encrypt(b"\x01" * 8, padding.PKCS1v15())),
        "key too long": with_key(public.encrypt(b"\x01" * 32, padding.PKCS1v15())),
        "number above the modulus": with_key(b"\xff" * 256),
        "encrypted key cut off": with_key(b"\x01" * 255),
        "padding of the contents": replace(good, encrypted=good.encrypted[:-16]),
        "contents cut off": replace(good, encrypted=good.encrypted[:-1]),
        "no contents": replace(good, encrypted=b""),
    }


@pytest.mark.parametrize("way", broken_ways())
def test_whatever_does_not_open_fails_alike(way: str) -> None:
    """RFC 3218: one error, one sentence. Once in 256 times random contents have a right padding; so several tries."""
    broken = broken_ways()[way]
    said = set()
    for _ in range(4):
        try:
            contents = broken.open(broken.recipients[0], KEY)
        except NotOpened as error:
            said.add(str(error))
        else:
            assert contents != CONTENT
    assert said == {"the encrypted contents cannot be opened with this key"}


def test_another_recipient_is_not_found() -> None:
    other = CertificateView.parse(make_certificate(key=KEY, serial=99))
    assert EnvelopedData.parse(seal(CONTENT, CERTIFICATE)).recipient_of(other) is None


# -- malformed -------------------------------------------------------------------------------------------------------


@given(st.data())
def test_malformed_messages_raise_one_kind_of_error(data: st.DataObject) -> None:
    made = bytearray(seal(b"x", CERTIFICATE))
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(made[: data.draw(st.integers(0, len(made)))])
    with contextlib.suppress(EncodingError, WeakAlgorithm):
        EnvelopedData.parse(cut)
