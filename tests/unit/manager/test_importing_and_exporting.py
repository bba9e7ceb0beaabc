"""Import of every usual file and of hostile ones; export that a spreadsheet does not take for a program."""

from __future__ import annotations

import csv
import io
import tracemalloc
import zipfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.manager import importing
from certwright.manager.importing import ImportFile
from certwright.manager.inventory_values import InventoryQuery, Source
from certwright.pki.armor import armor
from tests.support.inventory_files import certificate
from tests.support.managing import ALICE, Managed
from tests.support.requests import ec_key, rsa_key

PASSWORD = "the password of a file"


def pem_key(password: str = "") -> bytes:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return ec_key("P-256", 55).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def pfx(der: bytes, *more: bytes) -> bytes:
    above = [x509.load_der_x509_certificate(each) for each in more]
    leaf = x509.load_der_x509_certificate(der)
    key = ec_key("P-256", 55)
    return serialize_key_and_certificates(b"web", key, leaf, above, BestAvailableEncryption(PASSWORD.encode()))


def archive(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return buffer.getvalue()


A, B = certificate("a.corp.example"), certificate("b.corp.example", key=rsa_key())


@pytest.mark.parametrize(
    ("data", "count", "keys"),
    [
        (A, 1, 0),
        (armor("CERTIFICATE", A).encode(), 1, 0),
        (armor("X509 CERTIFICATE", A).encode(), 1, 0),
        (armor("CERTIFICATE", A, "\r\n").encode() + b"# comment\r\n" + armor("CERTIFICATE", B).encode(), 2, 0),
        (armor("CERTIFICATE", A).encode().replace(b"-----BEGIN CERTIFICATE-----", b"").split(b"-----")[0], 1, 0),
        (pkcs7.serialize_certificates([x509.load_der_x509_certificate(each) for each in (A, B)], Encoding.DER), 2, 0),
        (pkcs7.serialize_certificates([x509.load_der_x509_certificate(A)], Encoding.PEM), 1, 0),
        (armor("CERTIFICATE", A).encode() + pem_key(), 1, 1),
        (pem_key(PASSWORD) + armor("CERTIFICATE", A).encode(), 1, 1),
        (pfx(A, B), 2, 1),
        (archive(("one/a.cer", A), ("b.pem", armor("CERTIFICATE", B).encode())), 2, 0),
    ],
    ids=["der", "pem", "old-pem", "two", "base64", "p7b", "p7b-pem", "with-key", "encrypted-key", "pfx", "folder"],
)
def test_every_usual_file_is_read(desk: Managed, data: bytes, count: int, keys: int) -> None:
    files = [ImportFile("upload", data)]
    preview = desk.manager.importing.preview(files, PASSWORD)
    assert sum(len(each.certificates) for each in preview) == count
    assert [each.problem for each in preview] == [""] * len(preview)
    assert list(desk.manager.inventory.stream(InventoryQuery())) == [], "a preview stores nothing"
    result = desk.manager.importing.store(files, PASSWORD, owner="alice", tags=["new"], actor=ALICE)
    assert (len(result.added), result.keys) == (count, keys)
    rows = list(desk.manager.inventory.stream(InventoryQuery()))
    assert {(row.owner, row.tags, row.source, row.managed) for row in rows} == {
        ("alice", ("new",), Source.IMPORT, False)
    }
    assert sum(row.key_held for row in rows) == keys


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("empty", b"", "empty"),
        ("text.txt", b"hello, this is no certificate", "base64"),
        ("cut.der", A[:-5], "neither a certificate"),
        ("noise.der", b"\x30\x82" + bytes(range(256)), "neither a certificate"),
        ("web.pfx", pfx(A), "needs its password"),
        ("locked.pem", pem_key(PASSWORD), "encrypted; enter the password"),
        ("cut.pem", armor("CERTIFICATE", A).encode()[:200], "cut off or damaged"),
        ("small.pem", rsa_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "1024 bits"),
    ],
)
def test_what_cannot_be_read_says_why_and_keeps_nothing_else_from_it(
    desk: Managed, name: str, data: bytes, problem: str
) -> None:
    result = desk.manager.importing.store([ImportFile(name, data), ImportFile("a.cer", A)], actor=ALICE)
    assert problem in result.files[0].problem
    assert result.files[1].problem == ""
    assert len(result.added) == 1


def test_a_wrong_password_says_so(desk: Managed) -> None:
    [result] = desk.manager.importing.preview([ImportFile("web.pfx", pfx(A))], "another password")
    assert "password is wrong" in result.problem


def test_a_key_without_its_certificate_is_not_kept(desk: Managed) -> None:
    result = desk.manager.importing.store([ImportFile("key.pem", pem_key())], actor=ALICE)
    assert result.keys == 0
    desk.manager.importing.store([ImportFile("a.cer", A)], actor=ALICE)
    assert desk.manager.importing.store([ImportFile("key.pem", pem_key())], actor=ALICE).keys == 1
    assert next(desk.manager.inventory.stream(InventoryQuery())).key_held


def test_an_archive_that_grows_without_end_is_refused_before_it_does(
    desk: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_TOTAL", 4 << 20)
    monkeypatch.setattr(importing, "MAX_FILE", 1 << 20)
    bomb = archive(*((f"{number}.cer", bytes(1 << 20)) for number in range(50)))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match=r"too much at once|grows beyond"):
            desk.manager.importing.preview([ImportFile("bomb.zip", bomb)])
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_too_many_files_are_refused(desk: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_FILES", 3)
    with pytest.raises(InvalidArgument, match="import them in parts"):
        desk.manager.importing.preview([ImportFile("a.cer", A)] * 4)
    with pytest.raises(InvalidArgument, match="at most 3"):
        desk.manager.importing.preview([ImportFile("a.zip", archive(*((f"{n}", A) for n in range(4))))])


def test_an_archive_inside_an_archive_stays_closed(desk: Managed) -> None:
    inner = archive(("a.cer", A))
    [result] = desk.manager.importing.preview([ImportFile("a.zip", archive(("b.zip", inner)))])
    assert result.certificates == ()
    assert result.problem


def test_a_damaged_archive_says_so(desk: Managed) -> None:
    data = bytearray(archive(("a.cer", A * 10)))
    data[40:60] = bytes(20)
    with pytest.raises(InvalidArgument, match="damaged"):
        desk.manager.importing.preview([ImportFile("a.zip", bytes(data))])


def test_an_import_is_audited_without_keys(desk: Managed) -> None:
    desk.manager.importing.store([ImportFile("web.pfx", pfx(A))], PASSWORD, actor=ALICE)
    [event] = desk.events(AuditEvent.INVENTORY_IMPORTED)
    assert dict(event.details) == {"file": "web.pfx", "certificates": 1, "keys": 1}


# -- export --------------------------------------------------------------------------------------------------------


def test_csv_holds_what_the_filter_finds_in_iso_times(desk: Managed) -> None:
    desk.manager.importing.store([ImportFile("a", A), ImportFile("b", B)], tags=["x", "y"], actor=ALICE)
    text = b"".join(desk.manager.exporting.csv(InventoryQuery(text="a.corp"))).decode("utf-8-sig")
    [row] = csv.DictReader(io.StringIO(text))
    assert row["common_name"] == "a.corp.example"
    assert row["not_after"] == "2026-09-17T12:00:00Z"
    assert (row["status"], row["days_left"], row["tags"]) == ("active", "200", "x, y")


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)"])
def test_a_name_is_never_a_formula(desk: Managed, name: str) -> None:
    subject = "CN=" + "".join(f"\\{char}" if char in "=+" else char for char in name)
    desk.manager.importing.store([ImportFile("a", certificate(subject=subject, names=["x.example"]))], actor=ALICE)
    text = b"".join(desk.manager.exporting.csv(InventoryQuery(), ("common_name",))).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text)))[1] == [f"'{name}"]
    from openpyxl import load_workbook

    book = io.BytesIO()
    assert desk.manager.exporting.xlsx(InventoryQuery(), book, ("common_name", "days_left")) == 1
    cells = list(load_workbook(book).active.rows)[1]
    assert (cells[0].value, cells[0].data_type) == (name, "s")
    assert cells[1].value == 200


def test_unknown_columns_are_refused_at_once(desk: Managed) -> None:
    with pytest.raises(InvalidArgument):
        desk.manager.exporting.csv(InventoryQuery(), ("private_key",))


def test_pem_and_archive_hold_the_certificates(desk: Managed) -> None:
    result = desk.manager.importing.store([ImportFile("a", A), ImportFile("b", B)], actor=ALICE)
    found = x509.load_pem_x509_certificates(desk.manager.exporting.pem(result.added))
    assert [each.public_bytes(Encoding.DER) for each in found] == [A, B]
    buffer = io.BytesIO()
    assert desk.manager.exporting.archive(result.added, buffer) == 2
    with zipfile.ZipFile(buffer) as opened:
        assert opened.namelist() == [f"a.corp.example-{result.added[0]}.pem", f"b.corp.example-{result.added[1]}.pem"]
    assert desk.manager.exporting.der(result.added[0]) == A
    with pytest.raises(InvalidArgument):
        desk.manager.exporting.pem([4711])
