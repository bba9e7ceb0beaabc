"""The test of a service: which step fails, in words, with the fingerprint seen, and never with a second logon."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from certwright.connectors.probing import PAGE_STEPS, Outcome, ProbeStep, Step, probe
from certwright.connectors.service import AuthScheme, ServiceAddress
from certwright.connectors.trust import PinnedFile, SystemTrust
from tests.support.localized_pages import LANGUAGES, LocalizedPages, Site
from tests.support.scripted_https import Identity, Reply, ScriptedServer, Seen
from tests.support.server import free_ports
from tests.unit.connectors.conftest import CREDENTIAL, PASSWORD, Serve, address_of


def run(server: ScriptedServer, root: Identity, scheme: AuthScheme = AuthScheme.NTLM) -> Sequence[ProbeStep]:
    return probe(address_of(server, scheme), CREDENTIAL, PinnedFile(root.pem))


def failed(steps: Sequence[ProbeStep]) -> ProbeStep:
    """The one step that failed. Every step is there, in order, and nothing after the failure was tried."""
    assert [each.step for each in steps] == list(PAGE_STEPS)
    found = [each for each in steps if each.outcome is Outcome.FAILED]
    assert len(found) == 1
    later = steps[list(PAGE_STEPS).index(found[0].step) + 1 :]
    assert {each.outcome for each in later} <= {Outcome.SKIPPED}
    assert found[0].fix
    assert PASSWORD not in str(steps)
    return found[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_service_that_works_passes_every_step(
    serve: Serve, site: Site, root: Identity, web: Identity, language: str
) -> None:
    site.pages = LocalizedPages(language)
    server = serve(site)

    steps = run(server, root)

    assert [each.step for each in steps] == list(PAGE_STEPS)
    assert all(each.ok for each in steps), steps
    seen = steps[2].seen
    assert seen is not None
    assert seen.sha256 == web.sha256
    assert "Corp Issuing CA 1" in steps[6].sentence
    assert "WebServer, User" in steps[7].sentence
    assert len(server.authenticated) == 1


def test_dns(root: Identity) -> None:
    address = ServiceAddress("no-such-host.invalid")

    assert failed(probe(address, CREDENTIAL, PinnedFile(root.pem))).step is Step.DNS


def test_tcp(root: Identity) -> None:
    address = ServiceAddress("localhost", free_ports(1)[0])

    assert failed(probe(address, CREDENTIAL, PinnedFile(root.pem))).step is Step.TCP


def test_tls_shows_what_could_be_trusted(serve: Serve, site: Site, web: Identity) -> None:
    server = serve(site)

    step = failed(probe(address_of(server), CREDENTIAL, SystemTrust()))

    assert step.step is Step.TLS
    assert step.seen is not None
    assert step.seen.sha256 == web.sha256
    assert step.seen.fingerprint in step.sentence
    assert not server.seen


def test_a_scheme_that_is_not_offered(serve: Serve, site: Site, root: Identity) -> None:
    step = failed(run(serve(site, offers=("Negotiate",)), root, AuthScheme.BASIC))

    assert step.step is Step.AUTHENTICATION
    assert "Negotiate" in step.sentence


def test_a_refused_logon(serve: Serve, site: Site, root: Identity) -> None:
    server = serve(site, refusal=Reply("", 401))

    steps = run(server, root)

    assert failed(steps).step is Step.AUTHENTICATION
    assert "does not say" in steps[4].sentence
    assert len(server.authenticated) == 1


def test_a_locked_account(serve: Serve, site: Site, root: Identity) -> None:
    step = failed(run(serve(site, refusal=Reply("0xC0000234", 401)), root))

    assert step.step is Step.AUTHENTICATION
    assert "locked" in step.sentence


def test_a_refused_channel_binding(serve: Serve, site: Site, root: Identity) -> None:
    step = failed(run(serve(site, refusal=Reply("0x80090346", 401)), root))

    assert step.step is Step.CHANNEL_BINDING
    assert "proxy" in step.fix


@pytest.mark.parametrize(
    "reply",
    [Reply("", 403), Reply("", 404), Reply("<h1>It works!</h1>"), Reply("{}", content_type="application/json")],
)
def test_what_is_no_web_enrollment(serve: Serve, root: Identity, reply: Reply) -> None:
    steps = run(serve(lambda seen: reply), root)

    assert failed(steps).step is Step.PAGE
    assert steps[3].ok


def test_a_ca_page_that_cannot_be_read(serve: Serve, site: Site, root: Identity) -> None:
    server = serve(lambda seen: Reply("<h1>?</h1>") if seen.page == "certcarc.asp" else site(seen))

    assert failed(run(server, root)).step is Step.CA_NAME


def test_no_templates(serve: Serve, site: Site, root: Identity) -> None:
    site.offered = ()

    step = failed(run(serve(site), root))

    assert step.step is Step.TEMPLATES
    assert "Enroll" in step.fix


def test_a_server_that_is_out_of_order(serve: Serve, root: Identity) -> None:
    assert failed(run(serve(lambda seen: Reply("", 503)), root)).step is Step.AUTHENTICATION


def test_basic_and_no_logon_bind_nothing(serve: Serve, site: Site, root: Identity) -> None:
    def basic(seen: Seen) -> Reply:
        if "authorization" in seen.headers:
            return site(seen)
        return Reply("", 401, headers=(("WWW-Authenticate", "Basic"),))

    for server in (serve(basic, logon=False), serve(site, logon=False)):
        steps = run(server, root, AuthScheme.BASIC)

        assert steps[4].outcome is Outcome.SKIPPED
        assert all(each.ok for each in steps if each.step is not Step.CHANNEL_BINDING)


def test_every_template_is_counted_and_a_few_are_named(serve: Serve, site: Site, root: Identity) -> None:
    site.offered = [(f"Template{number}", True) for number in range(9)]

    assert run(serve(site), root)[7].sentence.endswith("Template4 and 4 more")
