"""Settings as people write them; the page's words as programs look for them."""

from __future__ import annotations

import hashlib
import re

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.ndes import admin_page
from certwright.ndes.application import is_admin_address, is_device_address
from certwright.ndes.settings import INTERNAL, MEANINGS, ChallengeMode, NdesSettings
from certwright.pki.enveloped_data import STRONG, ContentCipher


def test_every_setting_survives_its_text() -> None:
    changed = NdesSettings().changed({"challenge": "static", "challenge-cache": "7", "des": "on", "sha1": "on"})
    assert NdesSettings.load(changed.as_text()) == changed
    assert (changed.challenge, changed.challenge_cache) == (ChallengeMode.STATIC, 7)


def test_it_is_off_at_first_and_reads_no_weak_cipher_but_3des() -> None:
    assert not NdesSettings().enabled
    assert NdesSettings().ciphers == STRONG | {ContentCipher.TRIPLE_DES}
    assert NdesSettings().changed({"triple-des": "off"}).ciphers == STRONG


def test_settings_of_a_newer_version_are_passed_over() -> None:
    assert NdesSettings.load({"from-the-future": "1"}) == NdesSettings()


@pytest.mark.parametrize(
    "change",
    [
        {"no-such": "1"},
        {"enabled": "on"},  # by its own commands
        {"account": "Administrator"},
        {"static-digest": "00"},
        {"des": "yes"},
        {"challenge": "sometimes"},
        {"challenge-minutes": "0"},
        {"challenge-minutes": "-5"},
        {"challenge-length": "4"},
        {"challenge-cache": "many"},
        {"general-purpose-template": ""},
    ],
)
def test_nonsense_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        NdesSettings().changed(change)


def test_what_may_be_changed_is_explained() -> None:
    assert set(MEANINGS) == set(NdesSettings().as_text()) - INTERNAL


@pytest.mark.parametrize(
    "path",
    [
        "/certsrv/mscep/mscep.dll",
        "/certsrv/mscep/mscep.dll/pkiclient.exe",
        "/CertSrv/MSCEP/",
        "/certsrv/mscep",
        "/cgi-bin/pkiclient.exe",
    ],
)
def test_devices_find_it_in_any_case(path: str) -> None:
    assert is_device_address(path)
    assert not is_admin_address(path)


@pytest.mark.parametrize("path", ["/certsrv/mscep_admin", "/certsrv/mscep_admin/", "/CERTSRV/mscep_admin/mscep.dll"])
def test_people_find_the_page(path: str) -> None:
    assert is_admin_address(path)
    assert not is_device_address(path)


@pytest.mark.parametrize("path", ["/certsrv", "/certsrv/mscepx", "/certsrv/certfnsh.asp", "/mscep/mscep.dll"])
def test_other_addresses_are_others(path: str) -> None:
    assert not is_device_address(path)
    assert not is_admin_address(path)


def test_the_page_is_read_by_scrapers() -> None:
    certificate = b"a certificate"
    page = admin_page.with_challenge(certificate, "1ED0DD50F7459D6E", 60)
    assert page[:2] == b"<\x00"  # UTF-16LE, no mark
    text = page.decode("utf-16-le")
    found = re.search(r"(?i)The enrollment challenge password is: <B> (?P<password>\S*)", text)
    assert found is not None
    assert found["password"] == "1ED0DD50F7459D6E"
    groups = re.search(r"for the CA certificate is: <B> ([0-9A-F ]+) </B>", text)
    assert groups is not None
    thumbprint = hashlib.md5(certificate, usedforsecurity=False).hexdigest().upper()
    assert groups[1].replace(" ", "") == thumbprint
    assert [len(group) for group in groups[1].split()] == [8, 8, 8, 8]
    assert "The password cache is full." in admin_page.cache_full(60).decode("utf-16-le")


def test_no_page_without_a_challenge_looks_as_if_it_had_one() -> None:
    for page in (
        admin_page.without_challenge(b"x", static=True),
        admin_page.cache_full(60),
        admin_page.not_permitted(),
    ):
        text = page.decode("utf-16-le")
        assert "challenge password is: <B>" not in text
        assert [each for each in text.split() if re.fullmatch("[A-F0-9]{16}", each)] == []
