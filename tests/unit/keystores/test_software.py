"""Software keys: made once, sealed, taken offline and brought back, never lost and never overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certwright.keystores.base import KeyAlgorithm, KeyExists, KeyStore, KeyStoreError, KeyUnavailable, SigningKey
from certwright.keystores.sealing import Sealer
from certwright.keystores.software import SoftwareKeyStore
from certwright.pki import signatures
from tests.support import programs, requests
from tests.unit.keystores.test_sealing import crash_points

PASSPHRASE = b"correct horse battery staple"


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer.create(tmp_path / "master.key")


@pytest.fixture
def store(tmp_path: Path, sealer: Sealer) -> SoftwareKeyStore:
    return SoftwareKeyStore(tmp_path / "keys", sealer)


def again(store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer) -> SoftwareKeyStore:
    """The same folder, as another process sees it."""
    return SoftwareKeyStore(tmp_path / "keys", sealer)


def public(key: SigningKey) -> bytes:
    return key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# -- making and opening ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA_2048, KeyAlgorithm.ECDSA_P256, KeyAlgorithm.ECDSA_P384])
def test_a_key_made_is_the_key_opened(
    store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer, algorithm: KeyAlgorithm
) -> None:
    made = store.create("issuing", algorithm)
    opened = again(store, tmp_path, sealer).open("issuing")
    assert public(opened) == public(made)
    assert opened.in_process
    assert opened.name == "issuing"
    scheme = signatures.default_scheme(opened.private_key)
    scheme.verify(made.public_key, opened.sign(b"data", scheme), b"data")
    assert store.open("issuing") is store.open("issuing")
    interface: KeyStore = store
    assert interface.exists("issuing")


def test_every_algorithm_has_its_size() -> None:
    assert [algorithm.value for algorithm in KeyAlgorithm] == [
        "rsa-2048",
        "rsa-3072",
        "rsa-4096",
        "ecdsa-p256",
        "ecdsa-p384",
    ]
    key = KeyAlgorithm.RSA_2048.generate()
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key().public_numbers().e == 65537


def test_a_key_lies_sealed_and_for_its_owner_only(store: SoftwareKeyStore, tmp_path: Path) -> None:
    made = store.create("issuing", KeyAlgorithm.ECDSA_P256)
    folder = tmp_path / "keys"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert isinstance(made.private_key, ec.EllipticCurvePrivateKey)
    secret = made.private_key.private_numbers().private_value.to_bytes(32, "big")
    assert secret not in file.read_bytes()
    assert repr(made) == "SoftwareSigningKey('issuing')"


def test_a_key_is_never_overwritten(store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer) -> None:
    made = store.create("issuing", KeyAlgorithm.ECDSA_P256)
    for other in (store, again(store, tmp_path, sealer)):
        with pytest.raises(KeyExists):
            other.create("issuing", KeyAlgorithm.ECDSA_P256)
        with pytest.raises(KeyExists):
            other.import_("issuing", b"", b"")
    assert public(store.open("issuing")) == public(made)


def test_two_processes_that_make_the_same_key_at_once_get_one(
    store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = KeyAlgorithm.generate

    def generate(algorithm: KeyAlgorithm) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
        monkeypatch.undo()
        again(store, tmp_path, sealer).create("issuing", KeyAlgorithm.ECDSA_P256)
        return real(algorithm)

    monkeypatch.setattr(KeyAlgorithm, "generate", generate)
    with pytest.raises(KeyExists):
        store.create("issuing", KeyAlgorithm.ECDSA_P256)
    store.open("issuing")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "-x", "a\0b", "a b", "é", "a\n", "x" * 101]
)
def test_a_name_that_could_leave_the_folder_is_refused(store: SoftwareKeyStore, name: str) -> None:
    for action in (
        lambda: store.create(name, KeyAlgorithm.ECDSA_P256),
        lambda: store.open(name),
        lambda: store.exists(name),
        lambda: store.delete(name),
        lambda: store.import_(name, b"", b""),
        lambda: store.remove(name),
    ):
        with pytest.raises(KeyUnavailable, match="no key name"):
            action()


def test_names_with_dots_are_kept_apart(store: SoftwareKeyStore) -> None:
    for name in ("root", "root.1", "root.key", "root.offline"):
        store.create(name, KeyAlgorithm.ECDSA_P256)
    assert store.names() == ("root", "root.1", "root.key", "root.offline")
    store.remove("root.1")
    assert store.names() == ("root", "root.key", "root.offline")
    assert store.offline_names() == ("root.1",)


def test_an_absent_key_is_said_to_be_absent(store: SoftwareKeyStore) -> None:
    with pytest.raises(KeyUnavailable, match="there is no key issuing"):
        store.open("issuing")
    with pytest.raises(KeyUnavailable):
        store.delete("issuing")
    assert not store.exists("issuing")
    assert store.names() == ()


def test_a_key_file_under_another_name_does_not_open(store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer) -> None:
    """Sealed for its name: nobody can swap the root's key for another one by renaming files."""
    store.create("a", KeyAlgorithm.ECDSA_P256)
    store.create("b", KeyAlgorithm.ECDSA_P256)
    (tmp_path / "keys" / "a.key").replace(tmp_path / "keys" / "b.key")
    with pytest.raises(KeyUnavailable, match="belongs elsewhere"):
        again(store, tmp_path, sealer).open("b")


def test_a_damaged_key_file_does_not_open(store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer) -> None:
    store.create("a", KeyAlgorithm.ECDSA_P256)
    (tmp_path / "keys" / "a.key").write_bytes(b"")
    with pytest.raises(KeyUnavailable, match="cannot be opened"):
        again(store, tmp_path, sealer).open("a")


def test_a_deleted_key_is_gone(store: SoftwareKeyStore, tmp_path: Path) -> None:
    store.create("a", KeyAlgorithm.ECDSA_P256)
    store.delete("a")
    assert list((tmp_path / "keys").iterdir()) == []
    with pytest.raises(KeyUnavailable):
        store.open("a")
    store.create("a", KeyAlgorithm.ECDSA_P256)


# -- offline ---------------------------------------------------------------------------------------------------------


def test_a_key_goes_offline_and_comes_back(store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer) -> None:
    made = store.create("root", KeyAlgorithm.ECDSA_P384)
    stick = tmp_path / "stick.pem"
    store.take_offline("root", stick, PASSPHRASE)
    assert (store.names(), store.offline_names(), store.exists("root")) == ((), ("root",), False)
    with pytest.raises(KeyUnavailable, match="offline: import the file"):
        store.open("root")
    with pytest.raises(KeyExists):
        store.create("root", KeyAlgorithm.ECDSA_P384)
    back = again(store, tmp_path, sealer).import_("root", stick.read_bytes(), PASSPHRASE)
    assert public(back) == public(made)
    assert (store.names(), store.offline_names()) == (("root",), ())
    assert public(store.open("root")) == public(made)


def test_openssl_opens_an_exported_key(store: SoftwareKeyStore, tmp_path: Path) -> None:
    store.create("root", KeyAlgorithm.ECDSA_P256)
    stick = tmp_path / "stick.pem"
    store.export("root", stick, PASSPHRASE)
    assert stat.S_IMODE(stick.stat().st_mode) == 0o600
    assert stick.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    text = programs.openssl("pkey", "-in", stick, "-passin", f"pass:{PASSPHRASE.decode()}", "-noout", "-text")
    assert "ASN1 OID: prime256v1" in text
    assert store.exists("root")


def test_an_export_never_replaces_a_file(store: SoftwareKeyStore, tmp_path: Path) -> None:
    store.create("root", KeyAlgorithm.ECDSA_P256)
    stick = tmp_path / "stick.pem"
    stick.write_bytes(b"something")
    for action in (store.export, store.take_offline):
        with pytest.raises(KeyStoreError, match="exists already"):
            action("root", stick, PASSPHRASE)
    assert stick.read_bytes() == b"something"
    assert store.exists("root")


def test_an_export_that_cannot_be_written_removes_nothing(store: SoftwareKeyStore, tmp_path: Path) -> None:
    store.create("root", KeyAlgorithm.ECDSA_P256)
    with pytest.raises(KeyStoreError, match="cannot be written"):
        store.take_offline("root", tmp_path / "absent" / "stick.pem", PASSPHRASE)
    assert store.exists("root")


def test_an_export_that_does_not_read_back_removes_nothing(
    store: SoftwareKeyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("root", KeyAlgorithm.ECDSA_P256)
    other = requests.ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE))
    stick = tmp_path / "stick.pem"
    monkeypatch.setattr(Path, "read_bytes", lambda path: other)
    with pytest.raises(KeyStoreError, match="does not hold the key root"):
        store.take_offline("root", stick, PASSPHRASE)
    assert store.exists("root")


@pytest.mark.parametrize("passphrase", [b"", b"x" * 11])
def test_a_short_passphrase_is_refused(store: SoftwareKeyStore, tmp_path: Path, passphrase: bytes) -> None:
    store.create("root", KeyAlgorithm.ECDSA_P256)
    with pytest.raises(KeyStoreError, match="too short"):
        store.take_offline("root", tmp_path / "stick.pem", passphrase)
    assert not (tmp_path / "stick.pem").exists()


def test_a_wrong_passphrase_brings_nothing_back(store: SoftwareKeyStore, tmp_path: Path) -> None:
    store.create("root", KeyAlgorithm.ECDSA_P256)
    stick = tmp_path / "stick.pem"
    store.take_offline("root", stick, PASSPHRASE)
    for passphrase in (b"wrong passphrase", b""):
        with pytest.raises(KeyStoreError, match="wrong passphrase"):
            store.import_("root", stick.read_bytes(), passphrase)
    assert store.offline_names() == ("root",)


def test_only_the_same_key_comes_back_under_its_name(store: SoftwareKeyStore, tmp_path: Path) -> None:
    for name in ("root", "other"):
        store.create(name, KeyAlgorithm.ECDSA_P256)
        store.take_offline(name, tmp_path / f"{name}.pem", PASSPHRASE)
    with pytest.raises(KeyStoreError, match="another key than the root"):
        store.import_("root", (tmp_path / "other.pem").read_bytes(), PASSPHRASE)
    assert not store.exists("root")


def test_another_process_notices_that_a_key_went_offline(
    store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer
) -> None:
    store.create("root", KeyAlgorithm.ECDSA_P256)
    other = again(store, tmp_path, sealer)
    other.open("root")
    store.take_offline("root", tmp_path / "stick.pem", PASSPHRASE)
    with pytest.raises(KeyUnavailable, match="offline"):
        other.open("root")


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_made_elsewhere_is_taken_in(store: SoftwareKeyStore) -> None:
    for name, key in (("rsa", requests.rsa_key()), ("ec", requests.ec_key("P-384"))):
        assert public(store.import_(name, pem(key), b"")) == requests.spki(key)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (rsa.generate_private_key(65537, 1024), "1024 bits is too short"),
        (ec.generate_private_key(ec.SECP256K1()), "curves P-256"),
        (ec.generate_private_key(ec.SECP192R1()), "curves P-256"),
        (ed25519.Ed25519PrivateKey.generate(), "neither RSA"),
    ],
    ids=["RSA-1024", "secp256k1", "P-192", "Ed25519"],
)
def test_a_key_no_ca_may_have_is_not_taken_in(
    store: SoftwareKeyStore, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, reason: str
) -> None:
    with pytest.raises(KeyStoreError, match=reason):
        store.import_("weak", pem(key), b"")
    assert store.names() == ()


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_not_taken_in(store: SoftwareKeyStore, data: bytes) -> None:
    with pytest.raises(KeyStoreError, match="does not open"):
        store.import_("x", data, b"")


# -- crashes ---------------------------------------------------------------------------------------------------------


def test_a_crash_at_any_step_of_going_offline_loses_no_key(
    store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the export is on the disk and read back the key stays; whatever is left works again."""
    made = public(store.create("root", KeyAlgorithm.ECDSA_P256))
    stick = tmp_path / "stick.pem"

    def check(point: int) -> None:
        nonlocal store
        store = again(store, tmp_path, sealer)
        if store.exists("root"):
            assert public(store.open("root")) == made, point
            assert store.offline_names() == ()
        else:
            assert store.offline_names() == ("root",), point
            assert public(store.import_("root", stick.read_bytes(), PASSPHRASE)) == made, point
        stick.unlink(missing_ok=True)

    assert crash_points(lambda: store.take_offline("root", stick, PASSPHRASE), monkeypatch, check) > 10


def test_a_crash_at_any_step_of_coming_back_loses_no_key(
    store: SoftwareKeyStore, tmp_path: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = public(store.create("root", KeyAlgorithm.ECDSA_P256))
    stick = tmp_path / "stick.pem"
    store.take_offline("root", stick, PASSPHRASE)

    def check(point: int) -> None:
        nonlocal store
        store = again(store, tmp_path, sealer)
        if store.exists("root"):
            assert public(store.open("root")) == made, point
            store.remove("root")
        assert store.offline_names() == ("root",), point

    assert crash_points(lambda: store.import_("root", stick.read_bytes(), PASSPHRASE), monkeypatch, check) > 5
    assert public(store.open("root")) == made
