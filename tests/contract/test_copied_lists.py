"""CAs elsewhere, known from their CRLs: copied, kept, answered from until their end, and watched. Both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from certwright.adcs.errors import AccessDenied, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent, LifecycleEvent, LifecycleKind
from certwright.adcs.requester import Requester
from certwright.online_responder import store
from certwright.online_responder.partitions import Slot
from certwright.online_responder.service import BASE, DELTA, SIGNER, WorryState
from certwright.server.composition import Installation
from certwright.server.home import Home
from certwright.server.responder import OnlineResponder
from certwright.server.responder_lists import copy_due, tell_of_ending_answers
from certwright.server.responder_setup import ResponderSetup
from tests.support.copying import SERIAL, Clock, Elsewhere, with_key
from tests.support.doors import DATABASES
from tests.support.foreign_ca import COMPROMISED, RELEASED, ForeignCa, named
from tests.support.installation import Mold, People

PASSWORD = "pfx password"


@pytest.fixture(scope="module", params=DATABASES)
def home(
    request: pytest.FixtureRequest, molds: Callable[[str], Mold], new_folder: Callable[[], Path]
) -> Iterator[Home]:
    mold = molds(request.param)
    copied = mold.copy(new_folder())
    yield copied
    mold.drop(copied)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def installation(home: Home, clock: Clock) -> Iterator[Installation]:
    with Installation.open(home, clock=clock) as opened:
        yield opened


numbers = iter(range(1, 1000))


@pytest.fixture
def there(installation: Installation, clock: Clock, tmp_path: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(installation, clock, tmp_path, next(numbers))
    yield made
    if installation.revocation_configurations.find_elsewhere(made.name) is not None:
        made.setup.remove(made.name, made.operator)


# -- answers


def test_a_ca_elsewhere_is_answered_for_from_its_crl(there: Elsewhere) -> None:
    responder = there.enable()

    assert there.status(responder, 1) == "revoked keyCompromise"
    assert there.status(responder, 2) == "revoked certificateHold"
    assert there.status(responder, SERIAL) == "good"


def test_an_answer_says_what_the_crl_says_and_no_longer_than_it(there: Elsewhere) -> None:
    there.base.write_bytes(there.ca.crl(number=5, ends=timedelta(hours=3)))
    read = there.ask(there.enable(), SERIAL)

    assert read.this_update_utc == there.ca.now - timedelta(hours=1)
    assert read.next_update_utc == there.ca.now + timedelta(hours=3)


def test_a_signer_issued_by_that_ca_signs(there: Elsewhere) -> None:
    read = there.ask(there.enable(), SERIAL)

    signer = read.certificates[0]
    signer.verify_directly_issued_by(there.ca.certificate)
    key = signer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert read.signature_hash_algorithm is not None
    key.verify(read.signature, read.tbs_response_bytes, ec.ECDSA(read.signature_hash_algorithm))


def test_a_new_crl_changes_the_answers_of_every_process(there: Elsewhere, home: Home) -> None:
    """Hold is released by leaving the next base CRL; a kept answer goes."""
    responder = there.enable()
    with Installation.open(home) as another:
        array = [responder, OnlineResponder(another)]
        array[1].tick()
        assert [there.status(each, 2) for each in array] == ["revoked certificateHold"] * 2
        there.base.write_bytes(there.ca.crl({1: COMPROMISED, SERIAL: None}, number=6))

        assert there.setup.copy(there.name, there.operator) == []
        for each in array:
            each.tick()

        assert [there.status(each, 2) for each in array] == ["good"] * 2
        assert [there.status(each, SERIAL) for each in array] == ["revoked"] * 2


def test_a_delta_is_applied_to_its_base(there: Elsewhere) -> None:
    there.delta.write_bytes(there.ca.crl({2: RELEASED, SERIAL: COMPROMISED}, number=6, base=5))
    responder = there.enable(delta_crl_urls=there.delta.as_uri())

    assert there.status(responder, 1) == "revoked keyCompromise"
    assert there.status(responder, 2) == "good"
    assert there.status(responder, SERIAL) == "revoked keyCompromise"


def test_numbers_that_were_never_issued_are_unknown_where_a_folder_tells(there: Elsewhere) -> None:
    folder = there.folder / "issued"
    folder.mkdir()
    (folder / f"{SERIAL:x}").touch()
    responder = there.enable(issued_serials=str(folder))

    assert there.status(responder, SERIAL) == "good"
    assert there.status(responder, SERIAL + 1) == "unknown"
    assert there.status(responder, 1) == "revoked keyCompromise"


def test_a_long_list_is_read_beside_the_answers(there: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for changes does not wait until it is read."""
    monkeypatch.setattr("certwright.online_responder.copied.READ_AT_ONCE", 0)
    responder = there.enable()
    for thread in threading.enumerate():
        if thread.name == f"CRL of {there.name}":
            thread.join()
    responder.tick()

    assert there.status(responder, 1) == "revoked keyCompromise"


# -- copying


def test_what_is_refused_leaves_the_list_that_is_kept(there: Elsewhere) -> None:
    responder = there.enable()
    kept = there.setup.standing(there.name).lists[0]
    for refused, why in (
        (there.ca.crl(number=4), "back from 5 to 4"),
        (ForeignCa(there.name).crl(number=9), "key"),
        (b"no CRL at all", "no CRL"),
    ):
        there.base.write_bytes(refused)
        assert why in there.setup.copy(there.name, there.operator)[0]
    responder.tick()

    now = there.setup.standing(there.name).lists[0]
    assert now.digest == kept.digest
    assert "no CRL" in now.error
    assert there.status(responder, 1) == "revoked keyCompromise"


def test_a_number_never_goes_back_whoever_copies(there: Elsewhere, home: Home) -> None:
    """Two processes copy at the same time, and the slower one has the older list."""
    there.enable()
    known = there.installation.revocation_configurations.find_elsewhere(there.name)
    assert known is not None
    there.base.write_bytes(there.ca.crl(number=8))
    with Installation.open(home) as another:
        ResponderSetup(another).copy(there.name, another.operator())
    there.base.write_bytes(there.ca.crl(number=7))

    assert "back from 8 to 7" in there.setup.copy(there.name, there.operator)[0]
    kept = store.lists_of(there.installation.database, known.ca_id)[Slot(0, False)]
    assert kept.facts is not None
    assert kept.facts.number == 8


def test_the_next_location_is_asked_where_one_gives_nothing(there: Elsewhere) -> None:
    gone = (there.folder / "gone.crl").as_uri()
    there.add(crl_urls=f"{gone} {there.base.as_uri()}")

    assert there.setup.standing(there.name).lists[0].url == there.base.as_uri()


def test_lists_are_copied_when_due(there: Elsewhere, clock: Clock) -> None:
    there.enable()

    def number() -> int | None:
        facts = there.setup.standing(there.name).lists[0].facts
        return facts.number if facts is not None else None

    there.base.write_bytes(there.ca.crl(number=6))
    clock.ahead = timedelta(minutes=59)
    copy_due(there.installation, clock())
    assert number() == 5
    clock.ahead = timedelta(minutes=60, seconds=1)
    copy_due(there.installation, clock())
    assert number() == 6


def test_after_a_failure_it_is_tried_soon(there: Elsewhere, clock: Clock) -> None:
    there.enable()
    there.base.unlink()
    clock.ahead = timedelta(minutes=61)
    copy_due(there.installation, clock())
    assert "cannot be read" in there.setup.standing(there.name).lists[0].error
    there.base.write_bytes(there.ca.crl(number=6))
    clock.ahead = timedelta(minutes=64)

    copy_due(there.installation, clock())

    kept = there.setup.standing(there.name).lists[0]
    assert kept.error == ""
    assert kept.facts is not None
    assert kept.facts.number == 6


def test_a_disabled_configuration_copies_nothing(there: Elsewhere, clock: Clock) -> None:
    there.enable()
    there.setup.disable(there.name, there.operator)
    there.base.write_bytes(there.ca.crl(number=6))
    clock.ahead = timedelta(days=2)

    copy_due(there.installation, clock())

    facts = there.setup.standing(there.name).lists[0].facts
    assert facts is not None
    assert facts.number == 5


# -- to the end


def test_answers_end_with_the_crl_and_people_hear_before(
    there: Elsewhere, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that cannot be reached: answers until nextUpdate, an alarm before, then tryLater."""
    told: list[LifecycleEvent] = []
    monkeypatch.setattr(there.installation.notifications, "notify", told.append)
    responder = there.enable()
    there.base.unlink()

    for day, state in ((6, WorryState.OK), (6.6, WorryState.WARNING), (7.1, WorryState.DOWN)):
        clock.ahead = timedelta(days=day)
        copy_due(there.installation, clock())
        tell_of_ending_answers(there.installation, clock())
        responder.tick()
        assert there.worries()[BASE] is state
        assert there.status(responder, SERIAL) == ("try_later" if state is WorryState.DOWN else "good")

    ours = [event for event in told if event.object == there.name and event.facts["what"] == BASE]
    assert [(event.kind, event.facts["state"]) for event in ours] == [
        (LifecycleKind.ANSWERS_ENDING, "warning"),
        (LifecycleKind.ANSWERS_ENDING, "down"),
    ]
    assert len({event.identity for event in ours}) == 2
    assert "cannot be read" in str(ours[0].facts["error"])


def test_a_delta_that_ends_is_worried_about_too(there: Elsewhere, clock: Clock) -> None:
    there.delta.write_bytes(there.ca.crl(number=6, base=5, ends=timedelta(hours=10)))
    responder = there.enable(delta_crl_urls=there.delta.as_uri())
    clock.ahead = timedelta(hours=11)
    responder.tick()

    assert there.worries() == {BASE: WorryState.OK, DELTA: WorryState.DOWN, SIGNER: WorryState.OK}
    assert there.status(responder, SERIAL) == "try_later"


def test_a_signing_certificate_that_ends_is_worried_about(there: Elsewhere, clock: Clock) -> None:
    responder = there.enable()
    clock.ahead = timedelta(days=29)
    assert there.worries()[SIGNER] is WorryState.WARNING

    clock.ahead = timedelta(days=31)
    assert there.worries()[SIGNER] is WorryState.DOWN
    responder.tick()
    assert there.status(responder, SERIAL) == "try_later"


# -- who signs


def test_a_signer_is_asked_for_here_and_issued_there(there: Elsewhere) -> None:
    """RFC 6960 4.2.2.2: the CA in question issues it itself."""
    there.add()
    request = x509.load_der_x509_csr(there.setup.request_signer(there.name, there.operator))
    assert request.is_signature_valid
    usage = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [each.dotted_string for each in usage] == ["1.3.6.1.5.5.7.3.9"]
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    issued = there.ca.sign_responder(key)

    there.setup.install_signer(there.name, issued.public_bytes(Encoding.DER), "", there.operator)
    there.setup.enable(there.name, there.operator)

    responder = OnlineResponder(there.installation)
    responder.tick()
    assert there.ask(responder, SERIAL).certificates == [issued]


def test_a_signer_comes_as_pfx_too_and_lies_here_sealed(there: Elsewhere) -> None:
    there.add()
    key = ec.generate_private_key(ec.SECP256R1())
    pfx = serialize_key_and_certificates(
        b"responder",
        key,
        there.ca.sign_responder(key.public_key()),
        [there.ca.certificate],
        BestAvailableEncryption(PASSWORD.encode()),
    )
    with pytest.raises(InvalidArgument, match="password"):
        there.setup.install_signer(there.name, pfx, "another", there.operator)

    there.setup.install_signer(there.name, pfx, PASSWORD, there.operator)

    secret = key.private_numbers().private_value.to_bytes(32, "big")
    known = there.installation.revocation_configurations.find_elsewhere(there.name)
    assert known is not None
    files = list(there.installation.home.responder.glob(f"{known.signer_place}-*"))
    assert {path.suffix for path in files} == {".key", ".crt"}
    assert all(secret not in path.read_bytes() for path in files)


def test_the_cas_own_key_may_sign_and_is_not_sent(there: Elsewhere) -> None:
    there.add()
    there.setup.install_signer(there.name, with_key(there.ca.certificate, there.ca.key), "", there.operator)
    there.setup.enable(there.name, there.operator)
    responder = OnlineResponder(there.installation)
    responder.tick()

    assert there.ask(responder, SERIAL).certificates == []


def test_a_signer_that_no_client_would_take_is_refused(there: Elsewhere) -> None:
    there.add()
    key = ec.generate_private_key(ec.SECP256R1())
    for certificate, why in (
        (ForeignCa("Another").sign_responder(key.public_key()), "another CA"),
        (there.ca.sign_responder(key.public_key(), usage=False), "not for OCSP signing"),
        (there.ca.sign_responder(key.public_key(), days=0), "valid from"),
    ):
        there.clock.ahead = timedelta(seconds=5)
        with pytest.raises(InvalidArgument, match=why):
            there.setup.install_signer(there.name, with_key(certificate, key), "", there.operator)
    with pytest.raises(InvalidArgument, match="no certificate with its key"):
        there.setup.install_signer(there.name, there.ca.pem, "", there.operator)


def test_it_is_not_enabled_without_a_signer_or_without_a_crl(there: Elsewhere) -> None:
    there.base.unlink()
    there.add()
    with pytest.raises(ConfigurationError, match="signing certificate"):
        there.setup.enable(there.name, there.operator)
    there.install_signer()
    with pytest.raises(ConfigurationError, match="no CRL"):
        there.setup.enable(there.name, there.operator)


# -- what is added, and by whom


def test_the_renewed_certificate_of_the_same_key_replaces_the_old_one(there: Elsewhere) -> None:
    there.add()
    before = there.installation.revocation_configurations.find_elsewhere(there.name)
    renewed = ForeignCa(there.name, key=there.ca.key)
    there.setup.add("", renewed.pem, {}, there.operator)
    after = there.installation.revocation_configurations.find_elsewhere(there.name)

    assert before is not None
    assert after is not None
    assert after.ca_id == before.ca_id
    assert after.certificate.der == renewed.der
    assert after.sources == before.sources


def test_another_key_needs_a_name_of_its_own(there: Elsewhere) -> None:
    there.add()
    renewed = ForeignCa(there.name)
    with pytest.raises(InvalidArgument, match="already"):
        there.setup.add("", renewed.pem, {"crl-urls": "http://x/y.crl"}, there.operator)
    with pytest.raises(InvalidArgument, match="answered for already"):
        there.setup.add("Other name", there.ca.pem, {"crl-urls": "http://x/y.crl"}, there.operator)


def test_a_ca_of_ours_and_a_certificate_of_none_are_refused(there: Elsewhere) -> None:
    ours = there.installation.ca().authority.name
    urls = {"crl-urls": "http://x/y.crl"}
    with pytest.raises(InvalidArgument, match="is a CA of this installation"):
        there.setup.add(ours, there.ca.pem, urls, there.operator)
    with pytest.raises(InvalidArgument, match="is no CA"):
        there.setup.add("", there.ca.issue().public_bytes(Encoding.PEM), urls, there.operator)
    with pytest.raises(InvalidArgument, match="no certificate of a CA"):
        there.setup.add("", b"nothing", urls, there.operator)
    with pytest.raises(InvalidArgument, match="location"):
        there.setup.add("", there.ca.pem, {}, there.operator)


def test_files_of_this_host_are_named_by_who_works_on_it(there: Elsewhere) -> None:
    with pytest.raises(AccessDenied, match="command line"):
        there.setup.add("", there.ca.pem, {"crl-urls": there.base.as_uri()}, there.operator)
    there.add()
    for changes in ({"delta-crl-urls": there.delta.as_uri()}, {"issued-serials": "/etc"}):
        with pytest.raises(AccessDenied, match="command line"):
            there.setup.change(there.name, changes, there.operator)
    there.setup.change(there.name, {"refresh-minutes": "5"}, there.operator)  # which names none


def test_only_a_ca_administrator_changes_anything(there: Elsewhere, installation: Installation) -> None:
    there.add()
    nobody: Requester = installation.requester(People.PLAIN)
    setup, name = there.setup, there.name
    for act in (
        lambda: setup.add("", there.ca.pem, {}, nobody),
        lambda: setup.change(name, {"nonce": "ignore"}, nobody),
        lambda: setup.enable(name, nobody),
        lambda: setup.disable(name, nobody),
        lambda: setup.copy(name, nobody),
        lambda: setup.refresh(name, nobody),
        lambda: setup.request_signer(name, nobody),
        lambda: setup.install_signer(name, b"", "", nobody),
        lambda: setup.remove(name, nobody),
    ):
        with pytest.raises(AccessDenied):
            act()


def test_settings_of_answers_and_of_sources_change_together_or_not_at_all(there: Elsewhere) -> None:
    there.add()
    there.setup.change(there.name, {"scopes": "named", "nonce": "ignore"}, there.operator)
    assert there.setup.standing(there.name).texts["scopes"] == "named"
    for changes in (
        {"refresh-minutes": "7", "nonce": "what"},
        {"refresh-minutes": "0", "nonce": "echo"},
        {"refresh-minutes": "7", "nonsense": "x"},
        {"refresh-minutes": "7", "signed-with": "certificate"},
    ):
        with pytest.raises(InvalidArgument):
            there.setup.change(there.name, changes, there.operator)
    texts = there.setup.standing(there.name).texts
    assert (texts["refresh-minutes"], texts["nonce"]) == ("60", "ignore")


def test_a_partition_is_refused_until_somebody_allows_it(there: Elsewhere) -> None:
    there.base.write_bytes(there.ca.crl({1: None}, number=6, extensions=[named("http://x/ca_Partition00002.crl")]))
    there.add()
    assert "Partition00002" in there.setup.standing(there.name).lists[0].error

    there.setup.change(there.name, {"scopes": "named"}, there.operator)

    assert there.setup.copy(there.name, there.operator) == []


def test_what_is_removed_leaves_nothing(there: Elsewhere) -> None:
    responder = there.enable()
    known = there.installation.revocation_configurations.find_elsewhere(there.name)
    assert known is not None
    there.setup.remove(there.name, there.operator)
    responder.tick()

    assert there.status(responder, SERIAL) == "unauthorized"
    assert list(there.installation.home.responder.glob(f"{known.signer_place}-*")) == []
    assert not store.lists_of(there.installation.database, known.ca_id)
    assert all(each.ca != there.name for each in there.setup.elsewhere())


def test_changes_are_audited(there: Elsewhere) -> None:
    there.enable()
    there.setup.change(there.name, {"refresh-minutes": "5"}, there.operator)
    newest = there.installation.audit.events(
        ca=there.name, event=AuditEvent.REVOCATION_CONFIGURATION_CHANGED, limit=10
    )

    assert [event.details["change"] for event in newest] == ["sources", "enabled", "added"]
    assert newest[0].details["refresh-minutes (after)"] == "5"
