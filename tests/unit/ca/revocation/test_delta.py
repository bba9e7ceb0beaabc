"""Delta CRLs: what they say, which base they stand on, when they are made, and their end. [MS-CSRA] 3.1.4.1.6."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certwright.adcs.errors import ConfigurationError, NotSupported
from certwright.adcs.interfaces import CrlKind
from certwright.adcs.roles import RevocationReason
from certwright.ca.authority import Authority
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CrlRecord
from certwright.ca.revocation.publication import CrlPublisher, FolderTarget, PublicationFailed
from certwright.pki.certificate import serial_hex
from certwright.pki.crl import CrlReason, CrlView
from tests.support.installed import ADMINISTRATOR, HOST, TwoTier
from tests.support.issued import certificate_of, issue_row, revoke
from tests.support.issuing import lint, pem
from tests.support.programs import openssl

ACTOR = ADMINISTRATOR.account
BASE, DELTA = "Corp Issuing CA.crl", "Corp Issuing CA+.crl"
HOUR = timedelta(hours=1)


@dataclass
class Target:
    """A target that refuses the files it is told to."""

    refused: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    description: str = "the far end"
    is_directory: bool = False

    def put(self, name: str, content: bytes) -> bool:
        if name in self.refused:
            raise PermissionError(13, "Permission denied")
        self.files[name] = content
        return True


@pytest.fixture
def installed(tmp_path: Path) -> TwoTier:
    installed = TwoTier(tmp_path).install()
    configure(installed, **{"delta-crl-period": "1 days"})
    return installed


@pytest.fixture
def authority(installed: TwoTier) -> Authority:
    return installed.authority()


def configure(installed: TwoTier, **changes: str) -> None:
    configuration = CaConfiguration.load(installed.database.ca().settings).changed(changes)
    with installed.database.transaction() as transaction:
        transaction.save_settings(configuration.as_settings())


def entries(crl: CrlRecord) -> dict[str, CrlReason | None]:
    return {serial_hex(entry.serial): entry.reason for entry in CrlView.parse(crl.der).entries()}


def publish(authority: Authority, kind: CrlKind = CrlKind.BASE_AND_DELTA) -> tuple[CrlRecord, ...]:
    return CrlPublisher(()).publish(authority, ACTOR, kind)


# -- what they say ---------------------------------------------------------------------------------------------------


def test_a_base_takes_its_delta_with_it_under_the_same_number(authority: Authority) -> None:
    base, delta = publish(authority)

    assert (base.number, base.min_base) == (1, 0)
    assert (delta.number, delta.min_base, delta.entry_count) == (1, 1, 0)


def test_a_delta_says_what_changed_since_the_base(installed: TwoTier, authority: Authority) -> None:
    old, new = issue_row(authority), issue_row(authority)
    revoke(authority, old)
    installed.clock.turn(HOUR)
    publish(authority)
    installed.clock.turn(HOUR)
    revoke(authority, new, RevocationReason.KEY_COMPROMISE)

    (delta,) = publish(authority, CrlKind.DELTA)

    assert (delta.number, delta.min_base) == (2, 1)
    assert entries(delta) == {new: CrlReason.KEY_COMPROMISE}
    view = CrlView.parse(delta.der)
    assert (view.base_number, view.number) == (1, 2)
    indicator = x509.load_der_x509_crl(delta.der).extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert indicator.critical


def test_a_released_hold_is_taken_off_by_deltas_and_never_named_by_a_base(
    installed: TwoTier, authority: Authority
) -> None:
    """removeFromCRL (8). RFC 5280 5.3.1."""
    held = issue_row(authority)
    revoke(authority, held, RevocationReason.CERTIFICATE_HOLD)
    publish(authority)
    installed.clock.turn(HOUR)
    revoke(authority, held, None)

    (delta,) = publish(authority, CrlKind.DELTA)
    base, _ = publish(authority)

    assert entries(delta) == {held: CrlReason.REMOVE_FROM_CRL}
    assert entries(base) == {}


def test_a_revocation_that_becomes_effective_later_is_in_the_delta_of_that_day(
    installed: TwoTier, authority: Authority
) -> None:
    """It was revoked before the base, which could not say it yet."""
    serial = issue_row(authority)
    revoke(authority, serial, effective=installed.clock() + 3 * HOUR)
    base, _ = publish(authority)
    installed.clock.turn(4 * HOUR)

    (delta,) = publish(authority, CrlKind.DELTA)

    assert entries(base) == {}
    assert entries(delta) == {serial: CrlReason.SUPERSEDED}


def test_the_newest_base_that_everybody_has_is_named_and_the_oldest_good_one_is_covered(
    installed: TwoTier, authority: Authority
) -> None:
    """A base counts once its overlap has passed; changes begin with the oldest base a client may still hold."""
    serials = [issue_row(authority) for _ in range(3)]
    first, _ = publish(authority)
    for serial in serials[:2]:
        installed.clock.turn(timedelta(days=5))
        revoke(authority, serial)
        publish(authority)
    assert first.next_update < installed.clock.now
    installed.clock.turn(HOUR)
    revoke(authority, serials[2])

    (delta,) = publish(authority, CrlKind.DELTA)
    assert delta.min_base == 2, "number 3 is an hour old: not everybody has it"
    assert set(entries(delta)) == set(serials)

    installed.clock.turn(timedelta(hours=13))
    (delta,) = publish(authority, CrlKind.DELTA)
    assert delta.min_base == 3
    assert set(entries(delta)) == set(serials)


def test_bases_and_certificates_name_the_delta(installed: TwoTier, authority: Authority) -> None:
    """FreshestCRL, RFC 5280 4.2.1.15 and 5.2.6: in the base, in certificates, never in a delta."""
    url = f"http://{HOST}/CertEnroll/Corp%20Issuing%20CA+.crl"
    base, delta = publish(authority)
    issued = x509.load_der_x509_certificate(certificate_of(authority, issue_row(authority)))

    for holder in (x509.load_der_x509_crl(base.der), issued):
        freshest = holder.extensions.get_extension_for_class(x509.FreshestCRL)
        assert not freshest.critical
        assert [name.value for name in freshest.value[0].full_name or ()] == [url]
    with pytest.raises(x509.ExtensionNotFound):
        x509.load_der_x509_crl(delta.der).extensions.get_extension_for_class(x509.FreshestCRL)


def test_without_deltas_nothing_names_one(installed: TwoTier, authority: Authority) -> None:
    configure(installed, **{"delta-crl-period": "off"})
    (base,) = publish(authority)

    with pytest.raises(x509.ExtensionNotFound):
        x509.load_der_x509_crl(base.der).extensions.get_extension_for_class(x509.FreshestCRL)
    with pytest.raises(NotSupported, match="delta-crl-period='1 days'"):
        publish(authority, CrlKind.DELTA)


def test_a_url_that_is_the_same_for_both_names_no_delta(installed: TwoTier, authority: Authority) -> None:
    configure(installed, **{"cdp-urls": "http://pki.corp.example/%%9/issuing.crl"})
    base, _ = publish(authority)

    with pytest.raises(x509.ExtensionNotFound):
        x509.load_der_x509_crl(base.der).extensions.get_extension_for_class(x509.FreshestCRL)


def test_times_are_those_of_the_specification(installed: TwoTier, authority: Authority) -> None:
    """1 day: overlap 12 hours and a skew, and a skew more; dated back by a skew."""
    now = installed.clock.now.replace(microsecond=0)
    _, delta = publish(authority)

    assert delta.this_update == installed.database.ca().certificates[0].not_before
    assert delta.next_publish == now + timedelta(days=1)
    assert delta.next_update == now + timedelta(days=1, hours=12, minutes=20)


def test_openssl_believes_the_delta(installed: TwoTier, authority: Authority, tmp_path: Path) -> None:
    """`-use_deltas`: good by the base alone, revoked with the delta; released the other way round."""
    revoked, held = issue_row(authority), issue_row(authority)
    revoke(authority, held, RevocationReason.CERTIFICATE_HOLD)
    base, _ = publish(authority)
    revoke(authority, revoked)
    revoke(authority, held, None)
    (delta,) = publish(authority, CrlKind.DELTA)

    crls = [tmp_path / name for name in ("base.crl", "delta.crl")]
    for path, crl in zip(crls, (base, delta), strict=True):
        path.write_bytes(crl.der)
    ca = pem(tmp_path, "ca.pem", installed.database.ca().certificates[0].der)
    check = ("verify", "-partial_chain", "-crl_check", "-extended_crl", "-CAfile", ca, "-CRLfile", crls[0])
    with_delta = (*check, "-use_deltas", "-CRLfile", crls[1])
    paths = {serial: pem(tmp_path, f"{serial}.pem", certificate_of(authority, serial)) for serial in (revoked, held)}
    assert ": OK" in openssl(*check, paths[revoked])
    assert "certificate revoked" in openssl(*with_delta, paths[revoked], check=False)
    assert "certificate revoked" in openssl(*check, paths[held], check=False)
    assert ": OK" in openssl(*with_delta, paths[held])


# -- when ------------------------------------------------------------------------------------------------------------


def test_deltas_have_a_schedule_of_their_own(installed: TwoTier, authority: Authority) -> None:
    publisher, clock = CrlPublisher((Target(),)), installed.clock
    kinds = []
    for _ in range(9):
        assert publisher.publish_due(authority, ACTOR, clock.now)
        assert not publisher.publish_due(authority, ACTOR, clock.now)
        newest = authority.database.latest_crl(0)
        assert newest
        kinds.append("base" if newest.number == authority.database.ca().crl_number else "delta")
        clock.turn(timedelta(days=1))

    assert kinds == ["base", *["delta"] * 6, "base", "delta"]


def test_switching_them_on_makes_one_at_the_next_round(installed: TwoTier, authority: Authority) -> None:
    configure(installed, **{"delta-crl-period": "off"})
    publish(authority)
    assert not CrlPublisher(()).is_due(authority, installed.clock())

    configure(installed, **{"delta-crl-period": "1 days"})

    assert CrlPublisher(()).is_due(authority, installed.clock())


def test_switching_them_off_leaves_an_empty_one_of_a_new_base(installed: TwoTier, authority: Authority) -> None:
    """Whoever still has a delta learns of the base from the last one. CPF_SHADOW."""
    publisher, target = CrlPublisher((target := Target(),)), target
    serial = issue_row(authority)
    publisher.publish(authority, ACTOR)
    revoke(authority, serial)
    publisher.publish(authority, ACTOR, CrlKind.DELTA)

    configure(installed, **{"delta-crl-period": "off"})
    assert publisher.publish_due(authority, ACTOR, installed.clock())

    base, shadow = CrlView.parse(target.files[BASE]), CrlView.parse(target.files[DELTA])
    assert base.number == shadow.number == shadow.base_number == 3
    assert [serial_hex(entry.serial) for entry in base.entries()] == [serial]
    assert not list(shadow.entries())
    assert not publisher.is_due(authority, installed.clock())


def test_a_delta_must_be_more_frequent_than_a_base() -> None:
    with pytest.raises(ConfigurationError, match="shorter than crl-period"):
        CaConfiguration.load({"dns-name": HOST}).changed({"delta-crl-period": "1 weeks"})


@pytest.mark.parametrize("text", ["off", "0 days", ""])
def test_off_has_several_words(text: str) -> None:
    configuration = CaConfiguration.load({"dns-name": HOST}).changed({"delta-crl-period": text})

    assert configuration.delta_crl_period is None
    assert configuration.as_text()["delta-crl-period"] == "off"


# -- where -----------------------------------------------------------------------------------------------------------


def test_the_file_has_a_plus(authority: Authority, tmp_path: Path) -> None:
    CrlPublisher((FolderTarget(tmp_path / "out"),)).publish(authority, ACTOR)

    assert {BASE, DELTA} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_delta_is_held_back_where_its_base_did_not_arrive(installed: TwoTier, authority: Authority) -> None:
    target = Target({BASE})
    publisher = CrlPublisher((target,))

    with pytest.raises(PublicationFailed):
        publisher.publish(authority, ACTOR)
    assert DELTA not in target.files

    target.refused.clear()
    assert publisher.publish_due(authority, ACTOR, installed.clock())
    assert {BASE, DELTA} <= set(target.files)
    assert not publisher.is_due(authority, installed.clock())


def test_a_place_without_the_base_keeps_no_delta_from_the_others(installed: TwoTier, authority: Authority) -> None:
    """It is not everywhere, so it is tried again; where the base is it has come already."""
    broken, sound = Target({BASE}, description="broken"), Target(description="sound")
    publisher = CrlPublisher((broken, sound))
    with pytest.raises(PublicationFailed):
        publisher.publish(authority, ACTOR)

    assert DELTA in sound.files
    assert DELTA not in broken.files
    delta = authority.database.latest_crl(0, delta=True)
    assert delta
    assert delta.published_when is None
    assert publisher.is_due(authority, installed.clock())

    broken.refused.clear()
    assert publisher.publish_due(authority, ACTOR, installed.clock())
    assert broken.files[DELTA] == sound.files[DELTA]
    assert not publisher.is_due(authority, installed.clock())


def test_each_is_marked_for_itself(installed: TwoTier, authority: Authority) -> None:
    """Base and delta of a run share their number."""
    with pytest.raises(PublicationFailed):
        CrlPublisher((Target({DELTA}),)).publish(authority, ACTOR)

    base, delta = authority.database.latest_crl(0), authority.database.latest_crl(0, delta=True)
    assert base
    assert delta
    assert base.published_when is not None
    assert not base.publish_error
    assert delta.published_when is None
    assert "Permission denied" in delta.publish_error


def test_a_number_is_used_up_even_if_nothing_came_of_it(
    installed: TwoTier, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between taking the number and storing the lists: it never goes back."""

    def die(*_: object, **__: object) -> datetime:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("certwright.ca.revocation.publication.make_crl", die)
        with pytest.raises(KeyboardInterrupt):
            publish(authority)

    assert CrlPublisher(()).is_due(authority, installed.clock())
    assert {crl.number for crl in publish(authority)} == {2}


@pytest.mark.peer
def test_pkilint_finds_no_error(installed: TwoTier, authority: Authority, tmp_path: Path) -> None:
    """In a base that names its delta, in a delta, and in a certificate."""
    serial, held = issue_row(authority), issue_row(authority)
    revoke(authority, held, RevocationReason.CERTIFICATE_HOLD)
    base, _ = publish(authority)
    revoke(authority, held, None)
    revoke(authority, serial)
    (delta,) = publish(authority, CrlKind.DELTA)

    for name, crl in (("base.crl", base), ("delta.crl", delta)):
        (tmp_path / name).write_bytes(crl.der)
        assert not lint("lint_crl", "-t", "CRL", "-p", "PKIX", tmp_path / name)
    assert not lint("lint_pkix_cert", pem(tmp_path, "leaf.pem", certificate_of(authority, serial)))
