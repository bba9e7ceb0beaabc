"""What our own CAs tell people: requests as they are decided, CRLs, and what ends, once each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certwright.adcs.events import LifecycleKind
from certwright.adcs.properties import CaType
from certwright.adcs.request import RequestAttributes
from certwright.ca.database import CrlRecord
from certwright.ca.revocation.publication import PublicationFailed
from certwright.keystores.base import KeyAlgorithm
from certwright.notifications.values import RuleFields, WebhookFields
from certwright.server import authorities
from certwright.server.composition import Installation
from certwright.server.duties import publish_due_crls, tell_of_overdue_crls, warn_of_expiry
from tests.support.installation import ISSUING, OPERATOR, ROOT, GateTemplates, Mold, People
from tests.support.requests import web_server_request


@pytest.fixture
def installation(mold: Mold, tmp_path: Path) -> Iterator[Installation]:
    """With a rule that wants to know everything."""
    with mold.opened(tmp_path) as opened:
        fields = WebhookFields("Everything", "https://hooks.example.com/")
        channel = opened.notifications.channels.add(fields, "a signing key of a test", actor=OPERATOR)
        rule = RuleFields("Everything", channel.id, tuple(LifecycleKind))
        opened.notifications.rules.add(rule, actor=OPERATOR)
        yield opened


def newest(installation: Installation) -> CrlRecord:
    crl = installation.ca(ISSUING).authority.database.latest_crl(0)
    assert crl is not None
    return crl


def told(installation: Installation) -> list[tuple[str, str]]:
    return sorted((str(line.kind), line.object) for line in installation.notifications.history())


def test_decisions_of_a_ca_are_told(installation: Installation) -> None:
    """Through the exit module: issued, pending, denied by an officer."""
    wanda = installation.requester(People.ENROLLEE)
    door = installation.registry.connect("", wanda)

    def submit(template: str) -> int:
        attributes = RequestAttributes.parse(f"CertificateTemplate:{template}")
        return door.submit(web_server_request("www.corp.example"), attributes).request_id

    submit("WebServer")
    waiting = submit(GateTemplates.APPROVAL)
    installation.registry.administer("", installation.operator()).deny(waiting, "no")
    installation.exit_module.close()

    assert told(installation) == [("ca-denied", ISSUING), ("ca-issued", ISSUING), ("ca-pending", ISSUING)]


def test_a_crl_that_is_overdue_is_told_once(installation: Installation) -> None:
    crl = installation.ca(ISSUING).authority.database.latest_crl(0)
    assert crl is not None

    tell_of_overdue_crls(installation, crl.next_update - timedelta(seconds=1))
    in_time = told(installation)
    for hours in range(3):
        tell_of_overdue_crls(installation, crl.next_update + timedelta(hours=hours))

    assert in_time == []
    assert told(installation) == [("crl-overdue", ISSUING)]


def test_the_end_of_a_ca_certificate_is_told_once_in_each_band(installation: Installation) -> None:
    ends = {record.name: record.certificates[0].not_after for record in installation.records()}

    warn_of_expiry(installation, datetime.now(UTC))
    in_time = told(installation)
    for days in (120, 119, 89, 6, 5):
        warn_of_expiry(installation, ends[ISSUING] - timedelta(days=days))

    assert in_time == []
    assert told(installation) == [("ca-certificate-expiring", ISSUING)] * 3
    assert ends[ROOT] > ends[ISSUING]


def test_a_crl_that_a_place_does_not_take_is_told_once(installation: Installation) -> None:
    """The list is made and stays, and is brought there at the next round."""
    published = installation.home.published
    now = newest(installation).next_publish
    installation.clock = lambda: now
    files = published.rename(published.with_name("elsewhere"))
    published.write_text("no folder")
    for _ in range(2):
        with pytest.raises(PublicationFailed):
            publish_due_crls(installation, now)
    assert told(installation) == [("crl-not-published", ISSUING)]

    published.unlink()
    files.rename(published)
    publish_due_crls(installation, now)
    assert newest(installation).published_when is not None


def test_a_renewal_is_told_and_so_is_a_new_ca(installation: Installation) -> None:
    operator = installation.operator()
    authorities.renew(installation, ISSUING, None, None, operator)
    authorities.follow(installation, ISSUING, operator)
    kind = CaType.STANDALONE_ROOT
    authorities.create_root(installation, "CORP Test Root", kind, KeyAlgorithm.ECDSA_P256, operator)
    assert installation.look_for_cas() == ["CORP Test Root"]
    for _ in range(2):
        authorities.follow(installation, "CORP Test Root", operator)

    kinds = {LifecycleKind.CA_CERTIFICATE_RENEWED.value, LifecycleKind.CA_INSTALLED.value}
    assert [line for line in told(installation) if line[0] in kinds] == [
        ("ca-certificate-renewed", ISSUING),
        ("ca-installed", "CORP Test Root"),
    ]
