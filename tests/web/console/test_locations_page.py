"""Health > Locations: what the watch found, asked again on demand, with its history; the same for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from certwright.connectors.fetching import LocationError, Question
from certwright.console.rooms import Rooms, furnish
from certwright.location_watch.watch import LocationWatch
from certwright.server.composition import Installation
from certwright.server.locations import Reading, location_watch
from tests.support.api import Caller, refused, said, token
from tests.support.installation import ISSUING, ROOT, People
from tests.web.console.conftest import Browser, text_of

SignIn = Callable[..., Browser]
CRL = "CORP%20Issuing%20CA.crl"


@pytest.fixture
def published(
    installation: Installation, furnished: Rooms, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, bytes]]:
    """The files of /CertEnroll/ as the locations give them, without a listener; who takes one out, it is gone."""
    files = {path.name: path.read_bytes() for path in installation.home.published.iterdir()}

    def fetch(_reading: Reading, question: Question) -> bytes:
        name = question.url.rpartition("/")[2].replace("%20", " ")
        if name not in files:
            raise LocationError(f"{name} is not there")
        return files[name]

    monkeypatch.setattr(Reading, "fetch", fetch)
    yield files
    files.clear()


@pytest.fixture
def watch(installation: Installation, published: dict[str, bytes], furnished: Rooms) -> LocationWatch:
    from dataclasses import replace

    made = location_watch(installation)
    furnish(replace(furnished, watch=made))
    made.check_all()
    return made


def number_of(watch: LocationWatch, end: str, ca: str = ISSUING) -> int:
    return next(row.id for row in watch.all() if row.url.endswith(end) and row.ca == ca)


def test_every_location_is_shown_by_ca(sign_in: SignIn, watch: LocationWatch) -> None:
    page = text_of(sign_in(People.AUDITOR).get("/health/locations/"))

    assert ISSUING in page
    assert ROOT in page
    assert CRL in page
    assert "Clients find everything that certificates name." in page
    assert "Check all" not in page, "an auditor only looks"


def test_one_that_is_gone_is_down_on_every_page(
    sign_in: SignIn, watch: LocationWatch, published: dict[str, bytes]
) -> None:
    browser = sign_in(People.CA_ADMINISTRATOR)
    number = number_of(watch, CRL)
    del published["CORP Issuing CA.crl"]

    answer = browser.post(f"/health/locations/{number}/check/")
    assert answer.status_code in (302, 303)
    own = text_of(browser.get(f"/health/locations/{number}/"))
    assert "CORP Issuing CA.crl is not there." in own
    assert "History" in own
    assert "location is down" in text_of(browser.get("/health/locations/"))
    assert CRL in text_of(browser.get("/health/"))


def test_all_are_left_to_the_worker(sign_in: SignIn, watch: LocationWatch) -> None:
    sign_in(People.CA_ADMINISTRATOR).post("/health/locations/check/")

    assert watch.check_due() == len(watch.all())


def test_only_a_ca_administrator_has_them_asked(sign_in: SignIn, watch: LocationWatch) -> None:
    browser = sign_in(People.AUDITOR)

    assert browser.post("/health/locations/check/").status_code == 403
    assert browser.post(f"/health/locations/{number_of(watch, CRL)}/check/").status_code == 403


def test_a_location_that_nobody_watches_is_not_there(sign_in: SignIn, watch: LocationWatch) -> None:
    assert sign_in(People.AUDITOR).get("/health/locations/999999/").status_code == 404


def test_programs_see_and_ask_the_same(watch: LocationWatch, published: dict[str, bytes], console: object) -> None:
    administrator = Caller(token(People.CA_ADMINISTRATOR))
    listed = said(administrator.get("/health/locations"))
    assert {row["ca"] for row in listed} == {ISSUING, ROOT}
    assert {row["state"] for row in listed} == {"ok"}

    number = number_of(watch, CRL)
    del published["CORP Issuing CA.crl"]
    assert said(administrator.post(f"/health/locations/{number}/check", {}))["state"] == "down"
    history = said(administrator.get(f"/health/locations/{number}/history"))
    assert [change["state"] for change in history][:2] == ["down", "ok"]
    assert administrator.post("/health/locations/check", {}).status_code == 204
    refused(administrator.get("/health/locations/999999/history"), 404)
    refused(Caller(token(People.AUDITOR)).post(f"/health/locations/{number}/check", {}), 403)


def test_every_event_can_be_chosen_for_a_rule(console: object) -> None:
    """The console has words for each kind that may be told, the newest too."""
    from certwright.adcs.events import LifecycleKind
    from certwright.console.pages.notifications import EVENT_WORDS

    assert set(EVENT_WORDS) == set(LifecycleKind)
