"""What an installation does on a clock, with the clock in the test's hand: real keys, real tables, no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from certwright.adcs.errors import CaUnreachable
from certwright.ca.database import CrlRecord
from certwright.keystores.base import KeyAlgorithm
from certwright.server import tls
from certwright.server.composition import Installation
from certwright.server.duties import (
    all_duties,
    ask_for_offline_keys,
    publish_due_crls,
    renew_listener_certificate,
    warn_of_expiry,
)
from certwright.server.home import Home, Settings
from certwright.server.initialization import Plan, initialize
from certwright.server.worker import Worker

ROOT, ISSUING = "CORP Root CA", "CORP Issuing CA"


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    key = KeyAlgorithm.ECDSA_P256
    plan = Plan.make(Settings("localhost"), dns_domain="corp.example", root_key=key, ca_key=key)
    return initialize(tmp_path_factory.mktemp("duties") / "home", plan)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def installation(home: Home, clock: Clock) -> Iterator[Installation]:
    with Installation.open(home, clock=clock) as opened:
        yield opened


def newest_crl(installation: Installation, ca: str) -> CrlRecord:
    crl = installation.ca(ca).authority.database.latest_crl(0)
    assert crl is not None
    return crl


def test_nothing_is_published_before_it_is_due(installation: Installation, clock: Clock) -> None:
    before = newest_crl(installation, ISSUING)

    publish_due_crls(installation, clock())

    assert newest_crl(installation, ISSUING).number == before.number


def test_a_crl_is_published_when_its_period_is_over(installation: Installation, clock: Clock) -> None:
    before = newest_crl(installation, ISSUING)
    clock.now = before.next_publish

    publish_due_crls(installation, clock())

    after = newest_crl(installation, ISSUING)
    assert after.number > before.number
    assert after.published_when == clock.now
    assert (installation.home.published / f"{ISSUING}.crl").read_bytes() == after.der
    assert newest_crl(installation, ROOT).number == 1  # half a year to go


def test_a_file_that_is_missing_from_the_folder_comes_back(installation: Installation, clock: Clock) -> None:
    path = installation.home.published / f"{ISSUING}.crl"
    path.unlink()
    clock.now = newest_crl(installation, ISSUING).next_publish

    publish_due_crls(installation, clock())

    assert path.exists()


def test_a_root_whose_key_is_away_holds_up_nobody_and_is_in_no_memory(
    installation: Installation, clock: Clock, tmp_path: Path
) -> None:
    authority = installation.ca(ROOT).authority
    authority.generations.current()
    installation.key_store.take_offline("root-ca", tmp_path / "root.key", b"correct horse battery")
    clock.now = newest_crl(installation, ROOT).next_publish
    before = newest_crl(installation, ISSUING).number

    publish_due_crls(installation, clock())

    with pytest.raises(CaUnreachable):
        authority.generations.current()
    assert newest_crl(installation, ISSUING).number > before
    installation.key_store.import_("root-ca", (tmp_path / "root.key").read_bytes(), b"correct horse battery")
    authority.generations.current()


def test_a_key_that_is_away_is_asked_for_in_time(installation: Installation, clock: Clock, tmp_path: Path) -> None:
    installation.key_store.take_offline("root-ca", tmp_path / "root.key", b"correct horse battery")
    ends = newest_crl(installation, ROOT).next_update
    logged: dict[int, list[str]] = {}
    for days in (31, 29, 28, 6, -1):
        with structlog.testing.capture_logs() as lines:
            ask_for_offline_keys(installation, ends - timedelta(days=days))
        logged[days] = [each["ca"] for each in lines if each["event"] == "crl_needs_offline_key"]
    installation.key_store.import_("root-ca", (tmp_path / "root.key").read_bytes(), b"correct horse battery")

    assert logged == {31: [], 29: [ROOT], 28: [ROOT], 6: [ROOT], -1: [ROOT]}


def test_the_listeners_certificate_is_renewed_after_two_thirds_of_its_life(
    installation: Installation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "KEY_ALGORITHM", KeyAlgorithm.RSA_2048)
    first = installation.listener_certificates.current()

    renew_listener_certificate(installation, first.renew_after - timedelta(seconds=1))
    unchanged = installation.listener_certificates.current()
    clock.now = first.renew_after
    renew_listener_certificate(installation, clock())
    renewed = installation.listener_certificates.current()

    assert unchanged == first
    assert renewed.not_after > first.not_after
    assert renewed.chain[1] == first.chain[1]
    assert [each.name for each in installation.listener_certificates.generations()] == [first.name, renewed.name]


def test_people_are_told_before_a_ca_certificate_ends(installation: Installation, clock: Clock) -> None:
    ends = {record.name: record.certificates[0].not_after for record in installation.records()}

    with structlog.testing.capture_logs() as early:
        warn_of_expiry(installation, clock())
    with structlog.testing.capture_logs() as late:
        warn_of_expiry(installation, ends[ISSUING] - timedelta(days=100))

    assert early == []
    assert [each["ca"] for each in late] == [ISSUING]


def test_all_duties_run_at_once_without_complaint(installation: Installation, clock: Clock) -> None:
    with structlog.testing.capture_logs() as logged:
        Worker(all_duties(installation), clock).run_due()

    assert [each for each in logged if each["log_level"] in ("warning", "error")] == []
