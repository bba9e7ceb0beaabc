"""CAs elsewhere whose CRLs are partitions, and those of several keys: nothing is good that a missing list may revoke.

RFC 5280 5.2.5, 6.3.3. Both databases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.adcs.roles import RevocationReason
from certwright.keystores.base import KeyAlgorithm
from certwright.online_responder.partitions import PLACEHOLDER
from certwright.online_responder.service import BASE, WorryState
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.server.authorities import renew
from certwright.server.composition import Installation
from certwright.server.home import Home
from certwright.server.responder import OnlineResponder
from certwright.server.responder_lists import copy_due
from certwright.server.responder_setup import ResponderSetup
from tests.support.copying import SERIAL, Clock, Elsewhere, asked, word_of
from tests.support.doors import DATABASES
from tests.support.foreign_ca import COMPROMISED, ON_HOLD, RELEASED, named
from tests.support.installation import Mold
from tests.support.issued import issue_row

NAME = "http://pki.elsewhere.example/ca_Partition0000{}.crl"
SIZE = 100


class Partitioned(Elsewhere):
    """Its lists lie in files as Windows names them."""

    @property
    def url(self) -> str:
        return f"{self.folder.as_uri()}/ca{PLACEHOLDER}.crl"

    @property
    def delta_url(self) -> str:
        return f"{self.folder.as_uri()}/ca{PLACEHOLDER}+.crl"

    def file(self, partition: int, *, delta: bool = False) -> Path:
        suffix = f"_Partition{partition:05}" if partition else ""
        return self.folder / f"ca{suffix}{'+' if delta else ''}.crl"

    def publish(
        self,
        partition: int,
        revoked: dict[int, x509.ReasonFlags | None] | None = None,
        *,
        number: int = 1,
        base: int | None = None,
        ends: timedelta = timedelta(days=7),
        begins: timedelta = timedelta(hours=-1),
        points: str = "",
    ) -> None:
        point = [named(points or NAME.format(partition))] if partition else []
        crl = self.ca.crl(revoked or {}, number=number, base=base, begins=begins, ends=ends, extensions=point)
        self.file(partition, delta=base is not None).write_bytes(crl)

    def serve(self, partitions: str, **sources: str) -> OnlineResponder:
        return self.enable(crl_urls=self.url, partitions=partitions, **sources)

    def again(self, responder: OnlineResponder) -> list[str]:
        """Copy everything anew, and follow."""
        problems = list(self.setup.copy(self.name, self.operator))
        responder.tick()
        return problems


@pytest.fixture(scope="module", params=DATABASES)
def database_mold(request: pytest.FixtureRequest, molds: Callable[[str], Mold]) -> Mold:
    return molds(request.param)


@pytest.fixture(scope="module")
def home(database_mold: Mold, new_folder: Callable[[], Path]) -> Iterator[Home]:
    copied = database_mold.copy(new_folder())
    yield copied
    database_mold.drop(copied)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def installation(home: Home, clock: Clock) -> Iterator[Installation]:
    with Installation.open(home, clock=clock) as opened:
        yield opened


numbers = iter(range(1000, 2000))


@pytest.fixture
def there(installation: Installation, clock: Clock, tmp_path: Path) -> Iterator[Partitioned]:
    made = Partitioned(installation, clock, tmp_path, next(numbers))
    yield made
    if installation.revocation_configurations.find_elsewhere(made.name) is not None:
        made.setup.remove(made.name, made.operator)


# -- together


def test_partitions_together_tell_of_every_certificate(there: Partitioned) -> None:
    there.publish(1, {1: COMPROMISED})
    there.publish(2, {2: ON_HOLD})
    responder = there.serve("1-2")

    assert there.status(responder, 1) == "revoked keyCompromise"
    assert there.status(responder, 2) == "revoked certificateHold"
    assert there.status(responder, SERIAL) == "good"


def test_the_list_of_everything_else_may_be_one_of_them(there: Partitioned) -> None:
    """Partition 0 of Windows, exclusive or not: certificates from before there were partitions."""
    there.publish(0, {1: COMPROMISED})
    there.publish(1, {2: COMPROMISED})
    responder = there.serve("0-1")

    assert [there.status(responder, serial) for serial in (1, 2)] == ["revoked keyCompromise"] * 2
    assert there.status(responder, SERIAL) == "good"


def test_a_missing_partition_makes_nothing_good(there: Partitioned) -> None:
    """Anything that is on no list may be on the one that is not here."""
    there.publish(1, {1: COMPROMISED})
    responder = there.serve("2")

    assert there.status(responder, SERIAL) == "try_later"
    assert there.status(responder, 1) == "revoked keyCompromise"
    assert there.worries()[BASE] is WorryState.DOWN

    there.publish(2, {SERIAL: COMPROMISED})
    assert there.again(responder) == []
    assert there.status(responder, SERIAL) == "revoked keyCompromise"
    assert there.status(responder, 3) == "good"
    assert there.worries()[BASE] is WorryState.OK


def test_a_partition_that_ended_makes_nothing_good(there: Partitioned, clock: Clock) -> None:
    there.publish(1, {1: COMPROMISED})
    there.publish(2, {2: COMPROMISED}, ends=timedelta(hours=3))
    responder = there.serve("2")
    assert there.status(responder, SERIAL) == "good"

    clock.ahead = timedelta(hours=4)
    responder.tick()

    assert there.status(responder, SERIAL) == "try_later"
    assert there.status(responder, 1) == "revoked keyCompromise"
    assert there.status(responder, 2) == "try_later", "whether it is still on hold nobody knows"
    worst = next(each for each in there.setup.worries() if (each.ca, each.what) == (there.name, BASE))
    assert worst.state is WorryState.DOWN
    assert "partition 2" in worst.detail


def test_an_answer_is_no_newer_and_lasts_no_longer_than_any_of_the_lists(there: Partitioned) -> None:
    there.publish(1)
    there.publish(2, ends=timedelta(hours=3))
    read = there.ask(there.serve("2"), SERIAL)

    assert read.this_update_utc == there.ca.now - timedelta(hours=1)
    assert read.next_update_utc == there.ca.now + timedelta(hours=3)


def test_a_certificate_that_is_known_is_judged_by_the_list_it_names(there: Partitioned) -> None:
    """A file of issued-serials may hold the certificate; then a list that is missing concerns its own only."""
    folder = there.folder / "issued"
    folder.mkdir()
    certificates = {}
    for partition in (1, 2):
        certificates[partition] = there.ca.issue(points=[NAME.format(partition)])
        serial = certificates[partition].serial_number
        (folder / f"{serial:x}").write_bytes(certificates[partition].public_bytes(Encoding.PEM))
    (folder / f"{SERIAL:x}").touch()
    there.publish(1)
    responder = there.serve("2", issued_serials=str(folder))

    assert there.status(responder, certificates[1].serial_number) == "good"
    assert there.status(responder, certificates[2].serial_number) == "try_later"
    assert there.status(responder, SERIAL) == "try_later"


def test_each_partition_has_its_own_delta(there: Partitioned) -> None:
    there.publish(1, {1: ON_HOLD}, number=5)
    there.publish(2, {2: ON_HOLD}, number=5)
    there.publish(1, {1: RELEASED}, number=6, base=5)
    there.publish(2, {SERIAL: COMPROMISED}, number=6, base=5)
    responder = there.serve("2", delta_crl_urls=there.delta_url)

    assert there.status(responder, 1) == "good"
    assert there.status(responder, 2) == "revoked certificateHold"
    assert there.status(responder, SERIAL) == "revoked keyCompromise"


# -- as many as there are


def test_partitions_are_found_one_after_the_other(there: Partitioned) -> None:
    for partition in (1, 2, 3):
        there.publish(partition, {partition: COMPROMISED})
    responder = there.serve("1-")
    assert [there.status(responder, serial) for serial in (1, 2, 3)] == ["revoked keyCompromise"] * 3
    assert there.status(responder, 4) == "good"

    there.publish(4, {4: COMPROMISED})
    assert there.again(responder) == []

    assert there.status(responder, 4) == "revoked keyCompromise"
    assert there.status(responder, SERIAL) == "good"


def test_one_that_came_is_found_on_the_clock(there: Partitioned, clock: Clock) -> None:
    there.publish(1)
    responder = there.serve("1-")
    there.publish(2, {2: COMPROMISED})
    clock.ahead = timedelta(minutes=61)
    copy_due(there.installation, clock())
    responder.tick()

    assert there.status(responder, 2) == "revoked keyCompromise"


def test_while_nobody_says_whether_there_are_more_nothing_is_good(there: Partitioned) -> None:
    """A server that does not answer is no server that says there is none."""
    there.publish(1, {1: COMPROMISED})
    there.file(2).write_bytes(b"an error page")
    responder = there.serve("1-")

    assert there.status(responder, SERIAL) == "try_later"
    assert there.status(responder, 1) == "revoked keyCompromise"
    assert there.worries()[BASE] is WorryState.DOWN

    there.file(2).unlink()
    there.again(responder)
    assert there.status(responder, SERIAL) == "good"


def test_that_there_are_no_more_is_not_believed_for_ever(there: Partitioned, clock: Clock) -> None:
    """The answer says of which moment it is, and there is none when a list of that moment would have ended."""
    there.publish(1)
    responder = there.serve("1-")
    there.file(2).write_bytes(b"an error page")
    told = []
    for days in (1, 6, 8):
        there.publish(1, number=1 + days, begins=timedelta(days=days, hours=-1), ends=timedelta(days=days + 7))
        clock.ahead = timedelta(days=days)
        there.again(responder)
        told.append(there.ask(responder, SERIAL))

    assert [each.response_status.name for each in told] == ["SUCCESSFUL", "SUCCESSFUL", "TRY_LATER"]
    assert all(abs(each.this_update_utc - there.ca.now) < timedelta(minutes=5) for each in told[:2])


# -- what is taken


def test_a_server_that_gives_one_list_for_every_name_makes_nothing_good(there: Partitioned) -> None:
    there.publish(1, {1: COMPROMISED})
    there.publish(2, points=NAME.format(1))
    responder = there.serve("2")

    assert "list of partition 1" in there.again(responder)[0]
    assert there.status(responder, SERIAL) == "try_later"


def test_a_list_of_everything_is_no_partition(there: Partitioned) -> None:
    there.file(1).write_bytes(there.ca.crl({}, number=1))
    there.add(crl_urls=there.url, partitions="1-")

    assert "no partition" in there.setup.copy(there.name, there.operator)[0]


def test_a_delta_of_another_partition_is_refused(there: Partitioned) -> None:
    there.publish(1, number=5)
    there.publish(1, {SERIAL: RELEASED}, number=6, base=5, points=NAME.format(7))
    there.add(crl_urls=there.url, delta_crl_urls=there.delta_url, partitions="1")

    assert "not for the same distribution points" in there.setup.copy(there.name, there.operator)[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"partitions": "2"}, PLACEHOLDER),
        ({"partitions": "0"}, "partitions"),
        ({"partitions": "7-2"}, "partitions"),
        ({"partitions": "1-5000"}, "partitions"),
        ({"partitions": "all"}, "partitions"),
        ({"crl-urls": f"http://x/ca{PLACEHOLDER}.crl"}, "partitions=1-"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(there: Partitioned, changes: dict[str, str], why: str) -> None:
    there.add()
    with pytest.raises(InvalidArgument, match=why):
        there.setup.change(there.name, changes, there.operator)


# -- those of our own CA


class OurCa:
    """Another installation, whose CA makes partitions of a hundred certificates, and a responder that copies them."""

    def __init__(self, home: Home, copier: Installation) -> None:
        self.installation = Installation.open(home)
        self.installation.start()
        self.authority = self.installation.ca().authority
        self.operator = self.installation.operator()
        self.admin = self.installation.registry.administer(self.installation.ca().config, self.operator)
        self.admin.set_configuration({"crl-partition-size": str(SIZE)})
        self.folder = home.folder / "published"
        self.copier = copier
        self.setup = ResponderSetup(copier)
        self.publish()

    def publish(self) -> None:
        self.admin.publish_crls()

    def next_range(self) -> None:
        """Let requests come until the next range begins, and its list be made."""
        while True:
            with self.authority.transaction() as transaction:
                if transaction.next_request_id() % SIZE == 0:
                    break
        self.installation.publisher.publish_due(self.authority, "", self.authority.clock())

    def issue(self) -> int:
        return int(issue_row(self.authority), 16)

    def revoke(self, *serials: int) -> None:
        for serial in serials:
            self.admin.revoke(f"{serial:x}", RevocationReason.KEY_COMPROMISE)

    def add(self, key_index: int, url: str, **sources: str) -> str:
        """Let the other installation answer for a key of this CA; the name that it has there."""
        name = f"Large CA, key {key_index}"
        certificate = self._certificate(key_index)
        urls = {"crl-urls": f"{self.folder.as_uri()}/{quote(self.authority.name)}{url}.crl"}
        self.setup.add(name, certificate.der, urls | sources, self.copier.operator(), at_host=True)
        record = next(each for each in self.authority.database.ca().certificates if each.key_index == key_index)
        key = self.installation.key_store.open(record.key_name).private_key
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        signer = armor.armor(armor.CERTIFICATE, certificate.der).encode() + pem
        self.setup.install_signer(name, signer, "", self.copier.operator())
        self.setup.enable(name, self.copier.operator())
        return name

    def copy(self, name: str, responder: OnlineResponder) -> None:
        assert self.setup.copy(name, self.copier.operator()) == []
        responder.tick()

    def status(self, responder: OnlineResponder, key_index: int, serial: int) -> str:
        return word_of(asked(responder, self._certificate(key_index), serial))

    def _certificate(self, key_index: int) -> CertificateView:
        record = self.authority.database.ca()
        return CertificateView.parse(next(each for each in record.certificates if each.key_index == key_index).der)


@pytest.fixture
def ours(database_mold: Mold, new_folder: Callable[[], Path], installation: Installation) -> Iterator[OurCa]:
    copied = database_mold.copy(new_folder())
    made = OurCa(copied, installation)
    yield made
    for each in made.setup.elsewhere():
        made.setup.remove(each.ca, installation.operator())
    made.installation.close()
    database_mold.drop(copied)


def test_partitions_of_our_ca_are_answered_from(ours: OurCa) -> None:
    """Revoked in a range, after another range began, and one nobody revoked."""
    first = [ours.issue() for _ in range(2)]
    ours.next_range()
    second = [ours.issue() for _ in range(2)]
    name = ours.add(0, PLACEHOLDER, partitions="1-")
    responder = OnlineResponder(ours.copier)
    responder.tick()
    assert {ours.status(responder, 0, serial) for serial in first + second} == {"good"}

    ours.revoke(first[0], second[0])
    ours.publish()
    ours.copy(name, responder)

    assert [ours.status(responder, 0, serial) for serial in first] == ["revoked keyCompromise", "good"]
    assert [ours.status(responder, 0, serial) for serial in second] == ["revoked keyCompromise", "good"]


def test_without_the_list_of_a_range_nothing_of_our_ca_is_good(ours: OurCa) -> None:
    """A stick with two of three files: the third is missing, not empty."""
    serial = ours.issue()
    ours.next_range()
    (ours.folder / f"{ours.authority.name}_Partition00002.crl").unlink()
    ours.add(0, PLACEHOLDER, partitions="3")
    responder = OnlineResponder(ours.copier)
    responder.tick()

    assert ours.status(responder, 0, serial) == "try_later"


@pytest.mark.parametrize(("partitioned", "url"), [(True, PLACEHOLDER), (False, "")], ids=["partitions", "full lists"])
def test_every_key_of_our_ca_is_answered_for_from_its_own_lists(ours: OurCa, partitioned: bool, url: str) -> None:
    """After a renewal with a new key: `NAME.crl` and `NAME(1).crl`, or the partitions of both."""
    old = [ours.issue() for _ in range(2)]
    renew(ours.installation, ours.authority.name, KeyAlgorithm.ECDSA_P256, None, ours.operator)
    ours.publish()
    new = [ours.issue() for _ in range(2)]
    ours.revoke(old[0], new[0])
    ours.publish()
    partitions = {"partitions": "1-"} if partitioned else {}
    for key_index, suffix in ((0, ""), (1, "(1)")):
        ours.add(key_index, f"{suffix}{url}", **partitions)
    responder = OnlineResponder(ours.copier)
    responder.tick()

    assert [ours.status(responder, 0, serial) for serial in old] == ["revoked keyCompromise", "good"]
    assert [ours.status(responder, 1, serial) for serial in new] == ["revoked keyCompromise", "good"]


def test_the_list_of_another_key_is_refused(ours: OurCa) -> None:
    renew(ours.installation, ours.authority.name, KeyAlgorithm.ECDSA_P256, None, ours.operator)
    ours.publish()
    with pytest.raises(ConfigurationError, match="no CRL"):
        ours.add(0, "(1)")

    (kept,) = ours.setup.standing("Large CA, key 0").lists
    assert "another key of this CA" in kept.error
