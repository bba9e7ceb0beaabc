"""CRLs and CA certificates on their way out: made when due, replaced at once, tried again. [MS-CSRA] 3.1.4.1.6."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwright.adcs.errors import CaUnreachable, ConfigurationError
from certwright.adcs.events import AuditEvent
from certwright.adcs.interfaces import Delivery
from certwright.adcs.roles import RevocationReason
from certwright.ca.authority import Authority
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord
from certwright.ca.revocation.publication import CrlPublisher, FolderTarget, PublicationFailed
from certwright.pki.crl import CrlView
from tests.support.installed import ADMINISTRATOR, HOST, TwoTier
from tests.support.issued import certificate_of, issue_row, revoke, serials
from tests.support.issuing import pem
from tests.support.programs import openssl
from tests.unit.ca.revocation.test_delta import configure

ACTOR = ADMINISTRATOR.account
CRL_FILE = "Corp Issuing CA.crl"
CERTIFICATE_FILE = f"{HOST}_Corp Issuing CA.crt"


@dataclass
class FragileTarget:
    """A target that fails when told to."""

    broken: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    description: str = "the far end"

    is_directory: bool = False

    def put(self, name: str, content: bytes) -> bool:
        if self.broken:
            raise PermissionError(13, "Permission denied")
        self.files[name] = content
        return True


@pytest.fixture
def installed(tmp_path: Path) -> TwoTier:
    return TwoTier(tmp_path).install()


@pytest.fixture
def authority(installed: TwoTier) -> Authority:
    return installed.authority()


# -- making ----------------------------------------------------------------------------------------------------------


def test_publishing_puts_crl_and_certificate_where_urls_say(
    installed: TwoTier, authority: Authority, tmp_path: Path
) -> None:
    """The files have the names of the CDP and AIA URLs; OpenSSL follows the whole chain with both CRLs."""
    folder = tmp_path / "CertEnroll"
    publisher = CrlPublisher((FolderTarget(folder),))
    good, bad = issue_row(authority), issue_row(authority)
    revoke(authority, bad)

    publisher.publish(authority, ACTOR)
    publisher.publish(installed.authority(installed.root_database), ACTOR)

    root_certificate = installed.root_database.ca().certificates[0].der
    top = pem(tmp_path, "root.pem", root_certificate)
    below = pem(tmp_path, "issuing.pem", (folder / CERTIFICATE_FILE).read_bytes())
    crls = tmp_path / "crls.pem"
    crls.write_text(
        "".join(openssl("crl", "-inform", "DER", "-in", folder / name) for name in (CRL_FILE, "Corp Root CA.crl"))
    )
    leaf = pem(tmp_path, "leaf.pem", certificate_of(authority, good))
    revoked = pem(tmp_path, "revoked.pem", certificate_of(authority, bad))
    check = ("verify", "-crl_check_all", "-CAfile", top, "-untrusted", below, "-CRLfile", crls)
    assert ": OK" in openssl(*check, leaf)
    assert "certificate revoked" in openssl(*check, revoked, check=False)
    assert (folder / f"{HOST}_Corp Root CA.crt").read_bytes() == root_certificate


def test_numbers_grow_by_one_and_belong_to_the_run(authority: Authority) -> None:
    """One sequence for the whole CA. [MS-CSRA] 3.1.4.1.6."""
    publisher = CrlPublisher(())

    runs = [publisher.publish(authority, ACTOR) for _ in range(3)]

    assert [crl.number for (crl,) in runs] == [1, 2, 3]
    assert authority.database.ca().crl_number == 3


def test_every_living_key_gets_its_crl_with_the_same_number(installed: TwoTier, tmp_path: Path) -> None:
    """After a renewal with a new key, both keys have CRLs, in files of their own. [MS-WCCE] 3.2.1.4.3.2.39."""
    first = installed.root_database.ca().certificates[0]
    renewed = CaCertificateRecord(1, 1, first.der, first.key_name, first.not_before, first.not_after)
    with installed.root_database.transaction() as transaction:
        transaction.add_ca_certificate(renewed)
    target = FragileTarget()

    made = CrlPublisher((target,)).publish(installed.authority(installed.root_database), ACTOR)

    assert [(crl.number, crl.key_index) for crl in made] == [(1, 0), (1, 1)]
    assert CrlView.parse(target.files["Corp Root CA(1).crl"]).ca_version == (1, 1)
    assert set(target.files) == {
        "Corp Root CA.crl",
        "Corp Root CA(1).crl",
        f"{HOST}_Corp Root CA.crt",
        f"{HOST}_Corp Root CA(1).crt",
    }


def test_expired_certificates_leave_one_crl_after_their_end(installed: TwoTier, authority: Authority) -> None:
    """They appear once past their expiry, so that no client misses the revocation. [MS-CSRA] 3.1.4.1.6."""
    publisher = CrlPublisher(())
    serial = issue_row(authority, days=3)
    revoke(authority, serial)

    appearances = []
    for _ in range(4):
        (crl,) = publisher.publish(authority, ACTOR)
        appearances.append(serial in serials(crl))
        installed.clock.turn(timedelta(days=2))

    assert appearances == [True, True, True, False]


def test_they_stay_where_the_ca_is_told_to_keep_them(installed: TwoTier, authority: Authority) -> None:
    """For signatures that are checked years later; switched off again, they leave."""
    publisher = CrlPublisher(())
    serial = issue_row(authority, days=3)
    revoke(authority, serial)
    appearances = []
    for keep in ("on", "on", "on", "on", "off"):
        configure(installed, **{"crl-keeps-expired": keep})
        (crl,) = publisher.publish(authority, ACTOR)
        appearances.append(serial in serials(crl))
        installed.clock.turn(timedelta(days=2))

    assert appearances == [True, True, True, True, False]


def test_released_certificates_are_gone_from_the_next_base(authority: Authority) -> None:
    """RemoveFromCRL stands in delta CRLs only. [MS-CSRA] 3.1.4.1.6."""
    publisher = CrlPublisher(())
    serial = issue_row(authority)
    revoke(authority, serial, RevocationReason.CERTIFICATE_HOLD)
    (held,) = publisher.publish(authority, ACTOR)
    revoke(authority, serial, None)

    (released,) = publisher.publish(authority, ACTOR)

    assert serials(held) == [serial]
    assert serials(released) == []


def test_publication_is_audited(authority: Authority) -> None:
    """4871 when asked, 4872 when published, with number and next publication."""
    CrlPublisher((FragileTarget(),)).publish(authority, ACTOR)

    requested, published = authority.database.events[-2:]  # type: ignore[attr-defined]
    assert (requested.event, requested.details["number"]) == (AuditEvent.CRL_PUBLICATION_REQUESTED, 1)
    assert (published.event, published.details["file"]) == (AuditEvent.CRL_PUBLISHED, CRL_FILE)


def test_an_offline_key_changes_nothing(installed: TwoTier, tmp_path: Path) -> None:
    """No number is used up when the root's key is in the safe."""
    installed.keys.take_offline("root", tmp_path / "root.pem", b"correct horse battery")

    with pytest.raises(CaUnreachable, match="offline: import"):
        CrlPublisher(()).publish(installed.authority(installed.root_database), ACTOR)

    assert installed.root_database.ca().crl_number == 0


# -- when ------------------------------------------------------------------------------------------------------------


def test_a_crl_is_due_when_there_is_none_and_when_its_time_has_come(installed: TwoTier, authority: Authority) -> None:
    publisher, clock = CrlPublisher((FragileTarget(),)), installed.clock

    assert publisher.is_due(authority, clock.now)
    assert publisher.publish_due(authority, ACTOR, clock.now)
    assert not publisher.is_due(authority, clock.now)
    assert not publisher.publish_due(authority, ACTOR, clock.now)
    clock.turn(timedelta(days=7))
    assert publisher.is_due(authority, clock.now)


def test_what_a_target_did_not_take_is_recorded_and_delivered_later(installed: TwoTier, authority: Authority) -> None:
    """The same CRL is tried again; the other target has it already."""
    broken, sound = FragileTarget(broken=True), FragileTarget(description="the near end")
    publisher, now = CrlPublisher((broken, sound)), installed.clock.now

    with pytest.raises(PublicationFailed, match=r"the far end/Corp Issuing CA\.crl: Permission denied"):
        publisher.publish(authority, ACTOR)

    failed = authority.database.latest_crl(0)
    assert failed
    assert failed.published_when is None
    assert "Permission denied" in failed.publish_error
    assert CRL_FILE in sound.files
    assert publisher.is_due(authority, now)

    broken.broken = False
    assert publisher.publish_due(authority, ACTOR, now)

    delivered = authority.database.latest_crl(0)
    assert delivered
    assert (delivered.number, delivered.publish_error) == (1, "")
    assert delivered.published_when is not None
    assert broken.files[CRL_FILE] == sound.files[CRL_FILE]
    assert not publisher.is_due(authority, now)


def test_the_newest_crl_wins_a_race(authority: Authority) -> None:
    """Another process stores a newer list while ours is being put: the target ends up with the newer one."""

    class Racing(FragileTarget):
        def put(self, name: str, content: bytes) -> bool:
            super().put(name, content)
            latest = authority.database.latest_crl(0)
            if name == CRL_FILE and latest and latest.number == 1:
                with authority.database.transaction() as transaction:
                    transaction.add_crl(replace(latest, number=2, der=b"newer"))
            return True

    target = Racing()
    CrlPublisher((target,)).publish(authority, ACTOR)

    assert target.files[CRL_FILE] == b"newer"


# -- how it went -----------------------------------------------------------------------------------------------------


def states(authority: Authority, file: str) -> dict[str, tuple[int | None, bool, str]]:
    """By target: the number that was tried, whether it lies there, and why not."""
    return {
        each.target: (each.number, each.delivered_when is not None, each.error)
        for each in authority.database.deliveries()
        if each.file == file
    }


def test_every_file_says_at_every_target_how_it_stands(authority: Authority) -> None:
    broken, sound = FragileTarget(broken=True), FragileTarget(description="the near end")
    publisher = CrlPublisher((broken, sound))
    with pytest.raises(PublicationFailed):
        publisher.publish(authority, ACTOR)

    assert states(authority, CRL_FILE) == {
        "the far end": (1, False, "Permission denied"),
        "the near end": (1, True, ""),
    }
    assert states(authority, CERTIFICATE_FILE)["the far end"] == (None, False, "Permission denied")

    broken.broken = False
    publisher.deliver(authority, ACTOR)
    assert states(authority, CRL_FILE) == {"the far end": (1, True, ""), "the near end": (1, True, "")}


def test_what_lies_there_keeps_since_when(installed: TwoTier, authority: Authority) -> None:
    publisher = CrlPublisher((FragileTarget(),))
    publisher.publish(authority, ACTOR)
    before = authority.database.deliveries()
    installed.clock.turn(timedelta(minutes=5))
    publisher.deliver(authority, ACTOR)

    assert authority.database.deliveries() == before


def test_a_target_that_is_no_longer_named_is_forgotten(authority: Authority) -> None:
    CrlPublisher((FragileTarget(), FragileTarget(description="the near end"))).publish(authority, ACTOR)
    CrlPublisher((FragileTarget(),)).deliver(authority, ACTOR)

    assert {each.target for each in authority.database.deliveries()} == {"the far end"}


def test_what_another_process_brought_meanwhile_is_not_forgotten(authority: Authority) -> None:
    """It published while ours was under way: a list of its own, and a newer one of ours."""
    now = authority.clock()
    own = Delivery("the far end", "another.crl", 7, now, now)
    newer = Delivery("the far end", CRL_FILE, 9, now, now)
    gone = Delivery("elsewhere", CRL_FILE, 9, now, now)

    class Slow(FragileTarget):
        def put(self, name: str, content: bytes) -> bool:
            authority.database.note_deliveries([own, newer, gone])
            return super().put(name, content)

    CrlPublisher((Slow(),)).publish(authority, ACTOR)

    known = {each.file: each for each in authority.database.deliveries()}
    assert (known["another.crl"], known[CRL_FILE]) == (own, newer)
    assert all(each.target == "the far end" for each in known.values())


def test_a_target_says_what_does_not_belong_there(authority: Authority) -> None:
    class Lists(FragileTarget):
        def put(self, name: str, content: bytes) -> bool:
            return name.endswith(".crl") and super().put(name, content)

    CrlPublisher((Lists(),)).publish(authority, ACTOR)

    assert {each.file for each in authority.database.deliveries()} == {CRL_FILE}


@pytest.mark.parametrize(("is_directory", "event"), [(False, 65), (True, 74)])
def test_what_a_target_did_not_take_is_audited_once_for_each_list(
    installed: TwoTier, authority: Authority, is_directory: bool, event: int
) -> None:
    """With the numbers of Windows's application log; not again with every try."""
    publisher = CrlPublisher((FragileTarget(broken=True, is_directory=is_directory),))
    for act in (publisher.publish, publisher.deliver, publisher.deliver, publisher.publish):
        with pytest.raises(PublicationFailed):
            act(authority, ACTOR)

    told = [each for each in authority.database.events if each.event == event]  # type: ignore[attr-defined]
    assert [(each.details["number"], each.details["target"]) for each in told] == [
        (1, "the far end"),
        (2, "the far end"),
    ]
    assert told[0].details["error"] == "Permission denied"


# -- the folder ------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Who has the old file open reads it to its end; nothing half-written ever has the name."""
    target = FolderTarget(tmp_path / "new" / "CertEnroll")
    target.put("a.crl", b"old")
    path = tmp_path / "new" / "CertEnroll" / "a.crl"
    with path.open("rb") as reader:
        target.put("a.crl", b"newer")
        assert reader.read() == b"old"

    assert path.read_bytes() == b"newer"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["a.crl"]


def test_an_unchanged_file_keeps_its_time(tmp_path: Path) -> None:
    """Last-Modified is what caches ask for."""
    target = FolderTarget(tmp_path)
    target.put("a.crl", b"same")
    os.utime(tmp_path / "a.crl", (1, 1))

    target.put("a.crl", b"same")

    assert (tmp_path / "a.crl").stat().st_mtime == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "..\\b", "a\x00b"])
def test_names_stay_inside_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file name"):
        FolderTarget(tmp_path).put(name, b"")


def test_a_folder_that_cannot_be_written_is_a_failure_with_its_name(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(PublicationFailed, match=r"file/Corp Issuing CA\.crl: "):
        CrlPublisher((FolderTarget(tmp_path / "file"),)).publish(authority, ACTOR)


def test_files_need_the_ca_s_dns_name(installed: TwoTier) -> None:
    """Their names begin with it; nothing is made before that is known."""
    with installed.database.transaction() as transaction:
        transaction.save_settings({"cdp-urls": "none", "aia-urls": "none"})

    with pytest.raises(ConfigurationError, match="set dns-name"):
        CrlPublisher(()).publish(installed.authority(), ACTOR)

    assert installed.database.ca().crl_number == 0


def test_a_ca_s_own_folders_get_everything_too(installed: TwoTier, authority: Authority, tmp_path: Path) -> None:
    """Such as those of two web servers that are mounted here; one that is not there holds up no other."""
    first, second = tmp_path / "first", tmp_path / "a second"
    first.mkdir()
    configuration = CaConfiguration.load(installed.database.ca().settings)
    folders = f"{first.as_uri()} {second.as_uri()}"
    with installed.database.transaction() as transaction:
        transaction.save_settings(configuration.changed({"publication-folders": folders}).as_settings())
    publisher = CrlPublisher((FolderTarget(tmp_path / "published"),))

    with pytest.raises(PublicationFailed, match="a second"):
        publisher.publish(authority, ACTOR)
    assert not second.exists(), "it is not mounted"
    assert {path.name for path in first.iterdir()} == {path.name for path in (tmp_path / "published").iterdir()}
    failed = authority.database.latest_crl(0)
    assert failed is not None
    assert "a second" in failed.publish_error

    second.mkdir()
    assert publisher.publish_due(authority, ACTOR, authority.clock())
    assert {path.name for path in second.iterdir()} == {path.name for path in first.iterdir()}
    assert not publisher.is_due(authority, authority.clock())


@pytest.mark.parametrize("text", ["/srv/pki", "file://server/share", "file:srv", "http://x/", "file:///srv/../etc"])
def test_folders_are_plain_paths_of_this_host(text: str) -> None:
    with pytest.raises(ConfigurationError, match="publication-folders"):
        CaConfiguration.load({"publication-folders": text})


def test_folders_are_written_as_they_are_read() -> None:
    text = "file:///srv/a%20b file:///srv/c"
    configuration = CaConfiguration.load({"publication-folders": text})
    assert configuration.publication_folders == ("/srv/a b", "/srv/c")
    assert configuration.as_text()["publication-folders"] == text
