"""What stands in a keytab. MIT's file format, version 2, written here by hand."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.adcs.errors import ConfigurationError
from certwright.auth.keytab import MAX_ENTRIES, MAX_SIZE, parse_keytab, read_keytab
from certwright.auth.mechanism import Refused
from certwright.auth.tickets import Keytab
from tests.support.scripted_tickets import kerberos_token

WHEN = 1793491200  # 2026-11-01


def counted(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def entry(
    *parts: str, realm: str = "CORP.EXAMPLE", version: int = 3, encryption: int = 18, long_version: int | None = None
) -> bytes:
    body = struct.pack(">H", len(parts)) + counted(realm) + b"".join(map(counted, parts))
    body += struct.pack(">IIBHH", 1, WHEN, version, encryption, 32) + bytes(32)
    if long_version is not None:
        body += struct.pack(">I", long_version)
    return struct.pack(">i", len(body)) + body


def keytab(*entries: bytes) -> bytes:
    return b"\x05\x02" + b"".join(entries)


def test_principals_versions_and_encryptions_are_read() -> None:
    aes, rc4 = parse_keytab(keytab(entry("HTTP", "ca.corp.example"), entry("svc-http", version=7, encryption=23)))
    assert (aes.principal, aes.version, aes.service) == ("HTTP/ca.corp.example@CORP.EXAMPLE", 3, "HTTP")
    assert (aes.encryption_name, aes.is_aes) == ("aes256-cts-hmac-sha1-96", True)
    assert aes.written == datetime(2026, 11, 1, tzinfo=UTC)
    assert (rc4.principal, rc4.version, rc4.service) == ("svc-http@CORP.EXAMPLE", 7, "")
    assert (rc4.encryption_name, rc4.is_aes) == ("arcfour-hmac", False)


def test_a_key_version_beyond_255_stands_in_the_long_field() -> None:
    first, second = parse_keytab(
        keytab(entry("a", version=44, long_version=300), entry("a", version=44, long_version=0))
    )
    assert (first.version, second.version) == (300, 44)


def test_places_of_removed_entries_are_passed_over() -> None:
    hole = struct.pack(">i", -20) + bytes(20)
    assert len(parse_keytab(keytab(entry("a"), hole, entry("b")))) == 2


def test_keys_are_shown_nowhere() -> None:
    """Neither in a value nor in its repr."""
    (found,) = parse_keytab(keytab(entry("a").replace(bytes(32), b"K" * 32)))
    assert "KKKK" not in repr(found)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\x01",
        b"-----BEGIN CERTIFICATE-----",
        keytab(entry("a"))[:-1],
        keytab(struct.pack(">i", 3) + b"abc"),
        keytab(entry()),
        keytab(*[entry("a")] * (MAX_ENTRIES + 1)),
    ],
    ids=["nothing", "version 1", "PEM", "cut off", "too short", "no name", "too many"],
)
def test_what_is_no_keytab_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "http.keytab"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"http\.keytab is no keytab"):
        read_keytab(path)


def test_a_file_that_is_too_large_or_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_keytab(tmp_path / "absent")
    large = tmp_path / "large"
    large.write_bytes(bytes(MAX_SIZE + 1))
    with pytest.raises(ConfigurationError, match="too large"):
        read_keytab(large)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_octets_of_any_kind_are_read_or_refused(tail: bytes) -> None:
    for data in (tail, b"\x05\x02" + tail, keytab(entry("a")) + tail):
        try:
            parse_keytab(data)
        except ValueError:
            continue


# -- as the acceptor's credentials


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_tokens_of_any_kind_are_refused_in_words(opened: Keytab, body: bytes, framed: bool) -> None:
    """GSSAPI's parsers stand behind this: nothing but a refusal comes out."""
    token = kerberos_token(b"\x01\x00" + body) if framed else body
    with pytest.raises(Refused, match=r"^Kerberos: ."):
        opened.open(token, (b"tls-server-end-point:" + bytes(32),))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Keytab:
    """A keytab with a key that no ticket fits."""
    pytest.importorskip("gssapi", reason="the extra active-directory is not installed")
    folder = tmp_path_factory.mktemp("keytab")
    (folder / "http.keytab").write_bytes(keytab(entry("HTTP", "ca.corp.example")))
    found = Keytab(folder / "http.keytab", folder / "replay")
    found.check()
    return found


def test_kerberos_is_not_offered_without_a_usable_keytab(tmp_path: Path) -> None:
    """Said once in the log; a file that comes later is found."""
    from structlog.testing import capture_logs

    pytest.importorskip("gssapi", reason="the extra active-directory is not installed")
    path = tmp_path / "http.keytab"
    tickets = Keytab(path, tmp_path / "replay")
    with capture_logs() as logs:
        assert not tickets.is_ready
        path.write_bytes(keytab(entry("svc-http")))
        assert not tickets.is_ready
        assert not tickets.is_ready
        path.write_bytes(keytab(entry("HTTP", "ca.corp.example"), entry("svc-http")))
        assert tickets.is_ready
    reasons = [entry["reason"] for entry in logs if entry["event"] == "kerberos_not_offered"]
    assert len(reasons) == 2
    assert "No such file" in reasons[0]
    assert "No key table entry found" in reasons[1]
