"""What a host keeps of its enrollments, and that key and certificate are always a pair."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.client.enrollments import Auth, Enrollment, Files, State, read_key
from certwright.client.requests import public_key_of
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from tests.support.certificates import make_certificate
from tests.support.requests import PrivateKey, ec_key

OLD, NEW = ec_key("P-256", 61), ec_key("P-256", 62)


def pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(key: PrivateKey) -> CertificateView:
    return CertificateView.parse(make_certificate("CN=host.corp.example", key))


def enrollment(folder: Path, **changes: object) -> Enrollment:
    made = Enrollment(
        policy="https://ca.corp.example/x/CEP",
        template="Machine",
        auth=Auth.PASSWORD,
        key_file=str(folder / "host.key"),
        certificate_file=str(folder / "host.crt"),
        chain_file=str(folder / "host.chain.pem"),
        names=("DNS:host.corp.example",),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An old pair in place."""
    found = enrollment(tmp_path).files
    found.key.write_bytes(pem(OLD))
    found.certificate.write_text(armor.armor("CERTIFICATE", certificate(OLD).der))
    return found


def is_pair(files: Files) -> bool:
    return files.current() is not None


def test_a_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    one = enrollment(tmp_path, pending_id=7, renewal_uris=("https://ca/CES",), keep_key=True)
    other = enrollment(tmp_path / "elsewhere")
    state.put(one)
    state.put(other)

    assert state.get(enrollment(tmp_path)) == one
    assert {each.certificate_file for _, each in state.all() if isinstance(each, Enrollment)} == {
        one.certificate_file,
        other.certificate_file,
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"auth": "magic"}', '{"auth": "password"}', "\x00"])
def test_a_file_that_is_no_state_hides_no_other(tmp_path: Path, text: str) -> None:
    state = State(tmp_path)
    state.put(enrollment(tmp_path))
    (tmp_path / "broken.json").write_text(text)

    kinds = {path.name: type(found) for path, found in state.all()}

    assert kinds["broken.json"] is ConfigurationError
    assert Enrollment in kinds.values()


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    text = enrollment(tmp_path).encode().replace(b"{\n", b'{\n "later": [1],\n', 1)
    assert Enrollment.decode(text) == enrollment(tmp_path)


def test_a_certificate_is_due_as_its_template_says_but_not_in_the_first_half_of_its_life(tmp_path: Path) -> None:
    view = certificate(OLD)
    weeks = enrollment(tmp_path, renew_seconds=6 * 7 * 86400)
    forever = enrollment(tmp_path, renew_seconds=10**10)

    assert weeks.due(view) == view.not_after - timedelta(weeks=6)
    assert forever.due(view) == view.not_before + (view.not_after - view.not_before) / 2


def test_a_new_key_waits_beside_the_old_one_until_its_certificate_is_there(files: Files) -> None:
    key = files.key_to_use(KeyAlgorithm.ECDSA_P256, renews=True)
    again = files.key_to_use(KeyAlgorithm.ECDSA_P256, renews=True)
    assert public_key_of(key) == public_key_of(again)
    assert files.new_key.stat().st_mode & 0o777 == 0o600
    assert is_pair(files)

    files.put(certificate(key), ())

    assert is_pair(files)
    assert public_key_of(read_key(files.key)) == public_key_of(key)
    assert not files.new_key.exists()


def test_the_old_key_may_be_certified_again(files: Files) -> None:
    files.put(certificate(OLD), (certificate(NEW).der,))

    assert is_pair(files)
    assert files.chain.read_text().count("BEGIN CERTIFICATE") == 1


def test_a_certificate_for_another_key_does_not_replace_anything(files: Files) -> None:
    with pytest.raises(ConfigurationError):
        files.put(certificate(NEW), ())

    assert is_pair(files)
    assert not files.new_certificate.exists()


@pytest.mark.parametrize("moment", ["before the key", "between key and certificate"])
def test_a_crash_while_both_are_replaced_leaves_a_pair_after_the_next_run(files: Files, moment: str) -> None:
    files.new_certificate.write_text(armor.armor("CERTIFICATE", certificate(NEW).der))
    if moment == "before the key":
        files.new_key.write_bytes(pem(NEW))
    else:
        files.key.write_bytes(pem(NEW))

    files.settle()

    assert is_pair(files)
    assert public_key_of(read_key(files.key)) == public_key_of(NEW)
    assert not files.new_certificate.exists()


def test_a_new_certificate_without_its_key_is_dropped(files: Files) -> None:
    files.new_certificate.write_text(armor.armor("CERTIFICATE", certificate(NEW).der))

    files.settle()

    assert is_pair(files)
    assert not files.new_certificate.exists()


def test_a_key_of_another_kind_or_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for data in (b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        path.write_bytes(data)
        with pytest.raises(InvalidArgument):
            read_key(path)
