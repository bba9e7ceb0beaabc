"""NDES in a real domain: devices' requests are a domain account's, the service's own certificates nobody's there."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import ENROLL_RIGHT
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.endpoints.plain import Reply
from certwright.wire.scep import PkiStatus
from tests.support.joined import (
    READER,
    JoinedServer,
    add_template,
    administrator_of,
    directory_of,
    publish_ca,
    service_dn,
    template_dn,
)
from tests.support.lab import Lab
from tests.support.scep import Device

TEMPLATE: Final = "IPSECIntermediateOffline"


@pytest.fixture(scope="module")
def server(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    """A CA in the domain that publishes the template of devices, which the service's account may enroll for."""
    with directory_of(ad) as directory:
        domain_sid = directory.domain.sid
        account = directory.principal(READER)
    assert account is not None
    found = next(each for each in default_templates(domain_sid, new_forest_arcs()) if each.cn == TEMPLATE)
    security = SecurityDescriptor.from_sddl(found.security_descriptor, domain_sid)
    security = security.grant_extended_right(ENROLL_RIGHT, account.sid)
    with administrator_of(ad) as connection:
        add_template(connection, ad, replace(found, security_descriptor=security.to_sddl()), domain_sid)
    prepared = JoinedServer.prepare(tmp_path_factory.mktemp("devices"), ad)
    publish_ca(ad, prepared.ca_name, prepared.host, prepared.certificate, (TEMPLATE,))
    running = prepared.start()
    yield running
    running.stop()
    with administrator_of(ad) as connection:
        connection.delete(service_dn(ad, running.ca_name))
        connection.delete(template_dn(ad, TEMPLATE))


def test_a_device_of_a_domain_gets_its_certificate(ad: Lab, server: JoinedServer) -> None:
    """The template has no name rules, so a certificate manager decides."""
    refused = server.run("ndes", "enable")
    assert refused.returncode == 1
    assert "--account" in refused.stderr
    account = rf"{ad.netbios}\{READER}"
    server.cli("ndes", "enable", "--account", account)
    shown = server.json("ndes", "show")
    assert (shown["account"], shown.get("obstacles")) == (account, None)
    password = server.cli("ndes", "challenge", "--as", account).strip()

    def ask(method: str, query: bytes, body: bytes) -> Reply:
        url = f"http://{ad.host_address}:{server.http_port}/certsrv/mscep/mscep.dll?{query.decode()}"
        with urllib.request.urlopen(urllib.request.Request(url, body or None, method=method), timeout=20) as answer:
            return Reply(answer.status, b"", answer.read())

    device = Device(ask, "router1.ad.example", 31)
    signing, encryption, issuing, *_ = device.bundle()
    for each in (signing, encryption):
        each.verify_signed_by(issuing)
    assert device.enroll(password).status is PkiStatus.PENDING
    (row,) = server.json("ndes", "list")
    server.cli("request", "issue", str(row["request"]))
    collected = device.poll()
    assert collected.status is PkiStatus.SUCCESS
    assert collected.certificate.common_name == "router1.ad.example"
    assert server.json("request", "show", str(row["request"]))["caller"] == account
    device.take(collected)
    assert device.renew().status in (PkiStatus.PENDING, PkiStatus.SUCCESS)
