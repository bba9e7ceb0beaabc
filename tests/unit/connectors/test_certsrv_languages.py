"""Pages of six languages, their words at random: an outcome is known by links, codes, types and shapes alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from certwright.adcs.errors import CaUnreachable, HResult, NoSuchRequest
from certwright.adcs.request import Disposition, template_attributes
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.errors import AnswerLost
from tests.support.localized_pages import LANGUAGES, Decision, LocalizedPages, Site
from tests.support.requests import web_server_request
from tests.unit.connectors.conftest import Serve

Connect = Callable[..., CertsrvConnection]

SEEDS = (1, 2, 3)
OUTCOMES: list[tuple[Decision, Disposition, HResult]] = [
    ("issue", Disposition.ISSUED, HResult.S_OK),
    ("pend", Disposition.UNDER_SUBMISSION, HResult.S_OK),
    ("deny", Disposition.DENIED, HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE),
    ("deny in words", Disposition.DENIED, HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE),
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_decision_is_understood_in_every_language(
    serve: Serve, connect: Connect, site: Site, language: str, seed: int
) -> None:
    """Number, disposition and code; and `retrieve` says the same afterwards."""
    site.pages = LocalizedPages(language, seed)
    connection = connect(serve(site))

    for number, (decision, disposition, status) in enumerate(OUTCOMES, site.next_id):
        site.decision = decision
        response = connection.submit(web_server_request("www.corp.example"), template_attributes("WebServer"))
        again = connection.retrieve(number)

        assert (response.request_id, response.disposition, response.status) == (number, disposition, status)
        assert (again.request_id, again.disposition, again.status) == (number, disposition, status)
        assert again.certificate == response.certificate
        assert response.message


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_unknown_request_and_a_ca_that_is_down_are_no_decisions(
    serve: Serve, connect: Connect, site: Site, language: str
) -> None:
    site.pages = LocalizedPages(language)
    site.decision = "no ca"
    connection = connect(serve(site))

    with pytest.raises(NoSuchRequest):
        connection.retrieve(1)
    with pytest.raises(CaUnreachable) as down:
        connection.submit(web_server_request())

    assert not isinstance(down.value, AnswerLost)
    assert "0x800706ba" in down.value.message


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_without_any_signal_is_a_lost_answer(
    serve: Serve, connect: Connect, site: Site, language: str
) -> None:
    site.pages = LocalizedPages(language)
    site.decision = "garbage"

    with pytest.raises(AnswerLost):
        connect(serve(site)).submit(web_server_request())


@pytest.mark.parametrize("language", LANGUAGES)
def test_older_numbers_on_a_pending_page_are_not_taken_for_the_new_request(
    serve: Serve, connect: Connect, site: Site, language: str
) -> None:
    """The page says 10 as well (days), and request 10 of this account waits too: IDs only grow."""
    site.pages = LocalizedPages(language)
    site.decision = "pend"
    site.rows[10] = "pending"

    assert connect(serve(site)).submit(web_server_request()).request_id == 4711
