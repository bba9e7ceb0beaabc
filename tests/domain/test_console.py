"""The console of an installation in a domain: what is published against what should be, written and taken back; what
is wrong, with its fix. Sign in as the installation's own Administrator; what was written is read by OpenLDAP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote

import pytest
import requests

from certwright.adcs.events import AuditEvent
from certwright.directory.active_directory.ldap import LdapConnection, Scope
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.domain.test_publication import ldapsearch
from tests.support.browser import Visitor, chromium
from tests.support.joined import JoinedServer, administrator_of, install_default_templates, services_dn, template_dn
from tests.support.lab import Lab
from tests.support.site import Site

NETBIOS = "CON"
_AGREED = re.compile(r'name="agreed" value="([0-9a-f]+)"')


@pytest.fixture(scope="module")
def server(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    """A running installation of the domain, published by nobody yet; everything it published is taken back."""
    prepared = JoinedServer.prepare(tmp_path_factory.mktemp("console"), ad, NETBIOS)
    with Installation.open(Home.open(prepared.home)) as installation:
        domain = installation.directory.domain
    templates = install_default_templates(ad, domain.sid)
    running = prepared.start()
    yield running
    running.stop()
    with administrator_of(ad) as connection:
        for dn in _ours(connection, services_dn(ad)):
            connection.delete(dn)
        for cn in templates:
            connection.delete(template_dn(ad, cn))


def _ours(connection: LdapConnection, base: str) -> list[str]:
    """The objects of our CAs, the innermost first."""
    found = [entry.dn for entry in connection.search(base, Scope.SUBTREE, f"(cn={NETBIOS} *)", ["cn"])]
    return sorted(found, key=len, reverse=True)


@pytest.fixture(scope="module")
def site(server: JoinedServer) -> Site:
    return Site(server, r".\Administrator", server.password)


def text_of(page: requests.Response) -> str:
    body = re.sub(r"(?s)<(script|template|style)\b.*?</\1>", " ", page.text)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))


def at(server: JoinedServer, rest: str = "") -> str:
    return f"/ca/{quote(server.ca_name)}/directory/{rest}"


def api(site: Site, path: str) -> requests.Response:
    return site.get(f"/api/v1/{path}")


def events(server: JoinedServer, event: AuditEvent) -> int:
    with Installation.open(Home.open(server.home)) as installation:
        return len(installation.audit.events(event=int(event), limit=100))


def test_the_domain_is_shown_with_its_account_and_keys(ad: Lab, server: JoinedServer, site: Site) -> None:
    shown = text_of(site.get(at(server)))
    assert ad.dns_domain in shown
    assert f"Domain controller {ad.controller}" in shown
    assert rf"Account {ad.netbios}\svc-enroll" in shown
    assert "aes256-cts-hmac-sha1-96" in shown
    told = api(site, "active-directory").json()
    assert told["controller"] == ad.controller
    assert {key["encryption"] for keytab in told["keytabs"] for key in keytab["keys"] if key["taken"]} >= {
        "aes256-cts-hmac-sha1-96"
    }


def test_what_is_wrong_is_shown_with_what_to_do(ad: Lab, server: JoinedServer, site: Site) -> None:
    """svc-http holds this host's name and no keytab of it is configured: Kerberos is off."""
    shown = text_of(site.get(at(server, "examination/")))
    assert f"HTTP/{ad.ca_host} Worth knowing svc-http holds it, but no keytab is configured" in shown
    assert "To do: make one, and name it in [authentication]" in shown
    told = api(site, "active-directory/examination").json()
    assert told["sound"]
    assert any(check["verdict"] == "note" and "ktpass" in check["fix"] for check in told["checks"])


def test_the_installations_own_accounts_stand_beside_the_domain(server: JoinedServer, site: Site) -> None:
    shown = text_of(site.get(at(server, "accounts/")))
    assert r"this installation's own accounts, called .\name" in shown
    assert "Administrator User" in shown


def test_every_object_and_attribute_is_compared_before_it_is_published(server: JoinedServer, site: Site) -> None:
    """The page tells what `domain publish --dry-run` tells, and the rights that the service account lacks."""
    shown = text_of(site.get(at(server, "service/")))
    lines = server.run("domain", "publish", "--dry-run").stdout.splitlines()
    assert len(lines) > 20
    for line in lines:
        if line.startswith("add "):
            assert line[4:].partition(",CN=Public Key Services,")[0] + " Missing" in shown
        elif line.strip().startswith("+ "):
            assert line.strip()[2:].partition(": ")[2] in shown, line
    assert r"svc-enroll lacks rights to write this" in shown
    assert "/G" in shown
    told = api(site, f"cas/{quote(server.ca_name)}/publication").json()
    assert (told["published"], len(told["steps"])) == (False, sum(line.startswith("add ") for line in lines))
    assert told["missing"]


def test_without_rights_nothing_is_written(ad: Lab, server: JoinedServer, site: Site) -> None:
    refused = site.post(at(server, "publish/"), account="", password="", agreed="")
    assert refused.status_code == 403
    assert "lacks rights in Active Directory" in text_of(refused)
    assert not ldapsearch(ad, services_dn(ad), f"(cn={server.ca_name})", "cn")


def test_steps_that_changed_since_they_were_shown_are_not_done(ad: Lab, server: JoinedServer, site: Site) -> None:
    writer = {"account": "Administrator", "password": ad.administrator_password}
    refused = site.post(at(server, "publish/"), **writer, agreed="0" * 32)
    assert refused.status_code == 422
    assert "changed since the steps were shown" in text_of(refused)
    assert not ldapsearch(ad, services_dn(ad), f"(cn={server.ca_name})", "cn")


def test_publishing_with_an_account_of_the_domain_then_taking_back(ad: Lab, server: JoinedServer, site: Site) -> None:
    """Both shown and confirmed; the account's password stands nowhere afterwards."""
    dialog = site.get(at(server, "publish/"))
    found = _AGREED.search(dialog.text)
    assert found is not None
    writer = {"account": "Administrator", "password": ad.administrator_password}
    done = site.post(at(server, "publish/"), **writer, agreed=found[1])
    assert done.url.endswith("/service/"), text_of(done)
    assert "As it should be" in text_of(done)
    assert "Missing" not in text_of(done)
    (service,) = ldapsearch(ad, services_dn(ad), f"(&(objectClass=pKIEnrollmentService)(cn={server.ca_name}))", "cn")
    assert service["cn"] == [server.ca_name]
    assert server.json("domain", "show")["published"] == [server.ca_name]
    assert api(site, f"cas/{quote(server.ca_name)}/publication").json()["steps"] == []
    assert events(server, AuditEvent.DOMAIN_WRITE_BEGUN) == events(server, AuditEvent.DOMAIN_PUBLICATION_CHANGED) == 1
    secret = ad.administrator_password.encode()
    assert not [file for file in server.home.rglob("*") if file.is_file() and secret in file.read_bytes()]

    kept = site.post(at(server, "unpublish/"), **writer, word="something else")
    assert kept.status_code == 422
    assert ldapsearch(ad, services_dn(ad), f"(cn={server.ca_name})", "cn")
    gone = site.post(at(server, "unpublish/"), **writer, word=server.ca_name)
    assert gone.url.endswith("/service/"), text_of(gone)
    assert not ldapsearch(ad, services_dn(ad), f"(cn={server.ca_name})", "cn")
    assert server.json("domain", "show")["published"] == []


def test_the_api_tells_a_wrong_password_plainly_and_writes_nothing(ad: Lab, server: JoinedServer, site: Site) -> None:
    token = site.session.cookies["__Host-certwright-csrf"]
    answer = site.session.post(
        f"{site.base}/api/v1/cas/{quote(server.ca_name)}/publication",
        json={"account": "Administrator", "password": "wrong"},
        headers={"X-CSRFToken": token, "Referer": site.base},
        timeout=30,
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "password" in answer.json()["detail"] or "credentials" in answer.json()["detail"], answer.text
    assert not ldapsearch(ad, services_dn(ad), f"(cn={server.ca_name})", "cn")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_of_a_domain_are_for_everybody(server: JoinedServer, theme: str) -> None:
    """axe-core finds nothing, no script or policy complains, nothing is wider than the window."""
    with chromium() as browser, Visitor.at(browser, server.https, theme=theme) as visitor:
        visitor.sign_in(r".\Administrator", server.password)
        for page in ("", "examination/", "service/", "publish/", "unpublish/", "accounts/"):
            visitor.go(at(server, page))
            if not page:
                visitor.page.wait_for_selector("#rows table")  # which comes by itself
            assert (visitor.findings(), visitor.overflow(), visitor.complaints) == ([], 0, []), page
