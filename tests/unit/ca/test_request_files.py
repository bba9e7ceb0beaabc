"""A CA that another one signs by way of files: what goes out, what is signed, what is taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import AdcsError, BadRequest, ConfigurationError
from certwright.adcs.events import AuditEvent
from certwright.adcs.properties import CaType
from certwright.ca.configuration import CaConfiguration
from certwright.ca.installation import SUBORDINATE_VALIDITY, issuing
from certwright.ca.own_certificates import signer_of
from certwright.ca.renewal import Renewal, ask_for_renewal
from certwright.ca.request_files import CaRequest, ask, install, sign, withdraw
from certwright.keystores.base import KeyAlgorithm, KeyExists
from certwright.keystores.sealing import Sealer
from certwright.keystores.software import SoftwareKeyStore
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import decode_basic_constraints
from certwright.pki.pkcs10 import CertificationRequest
from tests.support import requests
from tests.support.installed import ADMINISTRATOR, HOST, ROOT_NAME, Clock, TwoTier
from tests.support.issuing import pem
from tests.support.memory_ca_database import MemoryCaDatabase
from tests.support.programs import openssl

P256 = KeyAlgorithm.ECDSA_P256


class Branch:
    """A CA somewhere else than its root: rows and keys of its own."""

    def __init__(self, folder: Path, clock: Clock, name: str = "Corp Branch CA") -> None:
        folder.mkdir()
        self.clock = clock
        self.keys = SoftwareKeyStore(folder / "keys", Sealer.create(folder / "master.key"))
        kind = CaType.ENTERPRISE_SUBORDINATE
        settings = CaConfiguration.for_new_ca(kind, dns_name=HOST).as_settings()
        self.database = MemoryCaDatabase(name, kind, "", settings)

    def ask(self) -> bytes:
        return ask(self.database, self.keys, issuing("branch", P256), ADMINISTRATOR, self.clock())

    def ask_again(self, new_key: str = "") -> bytes:
        renewal = Renewal(SUBORDINATE_VALIDITY, (new_key, P256) if new_key else None)
        return ask_for_renewal(self.database, self.keys, renewal, ADMINISTRATOR, self.clock())

    def install(self, *certificates: bytes) -> CertificateView:
        record = install(self.database, self.keys, certificates, ADMINISTRATOR, self.clock())
        return CertificateView.parse(record.der)


@pytest.fixture
def top(tmp_path: Path) -> TwoTier:
    (tmp_path / "top").mkdir()
    return TwoTier(tmp_path / "top").install()


@pytest.fixture
def branch(tmp_path: Path, top: TwoTier) -> Branch:
    return Branch(tmp_path / "branch", top.clock)


def signed(top: TwoTier, request: bytes, path_length: int | None = 0) -> bytes:
    signer = signer_of(top.root_database, top.keys)
    asked = CaRequest.read(request)
    return sign(top.root_database, signer, asked, SUBORDINATE_VALIDITY, path_length, ADMINISTRATOR, top.clock())


def root_certificate(top: TwoTier) -> bytes:
    return top.root_database.ca().certificates[-1].der


# -- the way out and back --------------------------------------------------------------------------------------------


def test_a_request_goes_out_and_its_answer_comes_back(top: TwoTier, branch: Branch, tmp_path: Path) -> None:
    request = branch.ask()
    certificate = signed(top, request)

    view = branch.install(root_certificate(top), certificate)

    (record,) = branch.database.ca().certificates
    assert (record.index, record.key_index, record.key_name) == (0, 0, "branch")
    assert record.chain == (root_certificate(top),)
    assert branch.database.ca().parent == ROOT_NAME
    assert branch.database.certificate_request() is None
    assert (view.common_name, view.template_name, view.ca_version) == ("Corp Branch CA", "SubCA", (0, 0))
    root, below = pem(tmp_path, "root.pem", root_certificate(top)), pem(tmp_path, "branch.pem", certificate)
    assert ": OK" in openssl("verify", "-x509_strict", "-CAfile", root, below)
    row = top.root_database.request_by_serial(view.serial_number)
    assert row
    assert (row.template, row.subject) == ("SubCA", "CN=Corp Branch CA")
    assert top.root_database.raw_request(row.request_id) == request
    kinds = [event.event for event in branch.database.events]
    assert kinds == [AuditEvent.CA_CERTIFICATE_ASKED_FOR, AuditEvent.CA_INSTALLED]


def test_a_request_says_what_it_is_for(branch: Branch) -> None:
    request = CertificationRequest.parse(branch.ask())

    request.verify_signature()
    assert request.template_name == "SubCA"
    constraints = decode_basic_constraints(request.extensions[oids.BASIC_CONSTRAINTS].value)
    assert (constraints.ca, constraints.path_length) == (True, 0)


def test_a_root_of_another_maker_signs_it_too(branch: Branch, tmp_path: Path) -> None:
    """OpenSSL as the offline root: what it copies from the request or sets itself is enough."""
    request = tmp_path / "branch.req"
    request.write_bytes(branch.ask())
    root, key, answer = tmp_path / "root.pem", tmp_path / "root.key", tmp_path / "branch.pem"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "100",
            "-subj", "/O=Elsewhere/CN=Other Root", "-keyout", key, "-out", root)  # fmt: skip
    openssl("x509", "-req", "-inform", "DER", "-in", request, "-CA", root, "-CAkey", key, "-days", "90",
            "-copy_extensions", "copyall", "-out", answer)  # fmt: skip
    branch.clock.turn(timedelta(minutes=1))  # OpenSSL goes by the real one

    view = branch.install(*(x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
                            for path in (answer, root)))  # fmt: skip

    assert view.issuer_name == "CN=Other Root,O=Elsewhere"
    assert branch.database.ca().parent == "Other Root"


def test_a_renewal_goes_the_same_way_with_the_same_key_or_a_new_one(top: TwoTier, branch: Branch) -> None:
    """Version and previous hash of the request are in the certificate that comes back."""
    first = branch.install(signed(top, branch.ask()), root_certificate(top))
    top.clock.turn(timedelta(days=30))
    second = branch.install(signed(top, branch.ask_again()), root_certificate(top))
    top.clock.turn(timedelta(days=30))
    third = branch.install(signed(top, branch.ask_again("branch-2")), root_certificate(top))

    assert [view.ca_version for view in (first, second, third)] == [(0, 0), (1, 0), (2, 2)]
    records = branch.database.ca().certificates
    assert [(each.index, each.key_index, each.key_name) for each in records] == [
        *((0, 0, "branch"), (1, 0, "branch"), (2, 2, "branch-2"))
    ]
    assert second.extensions[oids.PREVIOUS_CA_HASH].value.endswith(bytes.fromhex(first.sha1))
    assert branch.database.events[-1].event is AuditEvent.CA_CERTIFICATE_RENEWED


def test_until_the_answer_comes_everything_stays_as_it_is(top: TwoTier, branch: Branch) -> None:
    branch.install(signed(top, branch.ask()), root_certificate(top))
    before = branch.database.ca().certificates

    branch.ask_again("branch-2")

    assert branch.database.ca().certificates == before


def test_a_request_can_be_given_up(top: TwoTier, branch: Branch) -> None:
    """A key that was made for it goes; one that the CA uses stays."""
    branch.install(signed(top, branch.ask()), root_certificate(top))
    branch.ask_again("branch-2")
    withdraw(branch.database, branch.keys)
    assert branch.keys.names() == ("branch",)

    branch.ask_again()
    withdraw(branch.database, branch.keys)
    assert branch.keys.names() == ("branch",)
    with pytest.raises(ConfigurationError, match="waits for no certificate"):
        withdraw(branch.database, branch.keys)


# -- what a root refuses to sign -------------------------------------------------------------------------------------


def changed(request: bytes) -> bytes:
    return request[:-1] + bytes((request[-1] ^ 1,))


def for_a_host(_: bytes) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.corp.example")])
    request = x509.CertificateSigningRequestBuilder(name).sign(requests.ec_key(number=8), hashes.SHA256())
    return request.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (changed, "no sound certificate request"),
        (lambda request: request[:40], "no sound certificate request"),
        (lambda _: b"", "no sound certificate request"),
        (for_a_host, "not for a CA"),
    ],
)
def test_only_sound_requests_of_cas_are_read(spoil: Callable[[bytes], bytes], match: str, branch: Branch) -> None:
    with pytest.raises(BadRequest, match=match):
        CaRequest.read(spoil(branch.ask()))


def test_nobody_else_gets_the_root_s_own_name(top: TwoTier, tmp_path: Path) -> None:
    impostor = Branch(tmp_path / "impostor", top.clock, ROOT_NAME)

    with pytest.raises(BadRequest, match="the name of Corp Root CA itself"):
        signed(top, impostor.ask())


def test_a_ca_without_room_below_it_signs_none(top: TwoTier, branch: Branch) -> None:
    signer = signer_of(top.database, top.keys)
    asked = CaRequest.read(branch.ask())

    with pytest.raises(ConfigurationError, match="path length 0"):
        sign(top.database, signer, asked, SUBORDINATE_VALIDITY, 0, ADMINISTRATOR, top.clock())


def test_a_suspended_ca_signs_none(top: TwoTier, branch: Branch) -> None:
    with top.root_database.transaction() as transaction:
        transaction.save_settings({**transaction.ca().settings, "suspended": "on"})

    with pytest.raises(ConfigurationError, match="certwright ca resume"):
        signed(top, branch.ask())


def test_whoever_signs_decides_the_path_length(top: TwoTier, branch: Branch) -> None:
    view = CertificateView.parse(signed(top, branch.ask(), path_length=1))

    assert decode_basic_constraints(view.extensions[oids.BASIC_CONSTRAINTS].value).path_length == 1


# -- what is not taken back ------------------------------------------------------------------------------------------


def refused(branch: Branch, certificates: Sequence[bytes], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        branch.install(*certificates)
    assert not branch.database.ca().certificates
    assert branch.database.certificate_request() is not None


def test_a_certificate_for_another_key_is_refused(top: TwoTier, branch: Branch) -> None:
    branch.ask()

    refused(branch, (top.database.ca().certificates[0].der, root_certificate(top)), "for the key of Corp Branch CA")


def test_a_chain_with_a_gap_is_refused(top: TwoTier, branch: Branch) -> None:
    refused(branch, (signed(top, branch.ask()),), "--chain FILE")


def test_a_root_of_the_same_name_with_another_key_is_no_chain(top: TwoTier, branch: Branch, tmp_path: Path) -> None:
    certificate = signed(top, branch.ask())
    (tmp_path / "other").mkdir()
    other = TwoTier(tmp_path / "other").install()

    refused(branch, (certificate, root_certificate(other)), "not the right one")


def test_an_expired_certificate_is_refused(top: TwoTier, branch: Branch) -> None:
    certificate = signed(top, branch.ask())
    top.clock.now = datetime(2100, 1, 1, tzinfo=UTC)

    refused(branch, (certificate, root_certificate(top)), "which is not now")


def test_a_certificate_of_an_end_entity_is_refused(top: TwoTier, branch: Branch, tmp_path: Path) -> None:
    """Whoever signed it took it for a server's request."""
    branch.ask()
    key, now = requests.ec_key(number=7), top.clock.now
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corp Branch CA")])
    leaf = (
        x509.CertificateBuilder(name, name, branch.keys.open("branch").public_key, 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(False, None), True)
        .sign(key, hashes.SHA256())
    )

    refused(branch, (leaf.public_bytes(Encoding.DER),), "sign certificates and CRLs")


def test_something_that_is_no_certificate_is_refused(branch: Branch) -> None:
    branch.ask()

    refused(branch, (b"\x30\x03\x02\x01\x00",), "cannot be read")


def test_without_a_request_nothing_is_installed(top: TwoTier, branch: Branch) -> None:
    with pytest.raises(ConfigurationError, match="waits for no certificate"):
        branch.install(root_certificate(top))


def test_one_request_at_a_time(branch: Branch) -> None:
    branch.ask()

    with pytest.raises(ConfigurationError, match="waits for a certificate already"):
        ask(branch.database, branch.keys, issuing("branch-2", P256), ADMINISTRATOR, branch.clock())
    assert branch.keys.names() == ("branch",)


def test_a_key_is_never_replaced(branch: Branch) -> None:
    kept = branch.keys.create("branch", P256).public_key

    with pytest.raises(KeyExists):
        branch.ask()
    assert branch.keys.open("branch").public_key == kept


def test_an_answer_counts_once(top: TwoTier, branch: Branch) -> None:
    answer = (signed(top, branch.ask()), root_certificate(top))
    branch.install(*answer)

    with pytest.raises(AdcsError, match="waits for no certificate"):
        branch.install(*answer)
    assert len(branch.database.ca().certificates) == 1
