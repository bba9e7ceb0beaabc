"""Whose locations are watched, and how each kind is read: our own CAs, and those of others that we order from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwright.connectors.fetching import LocationError, Question
from certwright.connectors.locations import LocationKind
from certwright.directory.active_directory.ldap import Entry
from certwright.manager.values import ServiceKind
from certwright.server.composition import Installation
from certwright.server.locations import Reading, known_issuer, subjects
from tests.support.certificates import CA_NAME, ca_certificate, make_certificate
from tests.support.installation import ISSUING, ROOT, Mold
from tests.support.requests import ec_key

THEIRS = "http://pki.other.example/root.crl"


@pytest.fixture
def installation(mold: Mold, tmp_path: Path) -> Iterator[Installation]:
    with mold.opened(tmp_path) as opened:
        yield opened


def named(installation: Installation, ca: str) -> set[tuple[LocationKind, str]]:
    return {
        (location.kind, location.url.rpartition("/")[2])
        for subject in subjects(installation)
        if subject.ca == ca
        for location in subject.locations
    }


def test_a_ca_of_ours_is_watched_for_what_it_issues_and_for_its_own_certificate(installation: Installation) -> None:
    assert named(installation, ISSUING) == {
        (LocationKind.CRL, "CORP%20Issuing%20CA.crl"),
        (LocationKind.ISSUER, "localhost_CORP%20Issuing%20CA.crt"),
        (LocationKind.CRL, "CORP%20Root%20CA.crl"),
        (LocationKind.ISSUER, "localhost_CORP%20Root%20CA.crt"),
    }
    assert named(installation, ROOT) == {
        (LocationKind.CRL, "CORP%20Root%20CA.crl"),
        (LocationKind.ISSUER, "localhost_CORP%20Root%20CA.crt"),
    }


def test_what_is_set_counts_before_anything_is_issued_with_it(installation: Installation) -> None:
    admin = installation.registry.administer(installation.ca().config, installation.operator())
    admin.set_configuration({"ocsp-urls": "http://ocsp.corp.example/ocsp", "delta-crl-period": "1 days"})

    found = named(installation, ISSUING)
    assert (LocationKind.OCSP, "ocsp") in found
    assert (LocationKind.DELTA_CRL, "CORP%20Issuing%20CA+.crl") in found


@dataclass
class _Services:
    """A service of another's CA, whose chain was read."""

    chains: tuple[tuple[bytes, ...], ...]
    kind: ServiceKind = ServiceKind.CERTSRV

    def list(self) -> list[Any]:
        service = type("Service", (), {"kind": self.kind, "hostname": "ca.other.example", "config": ""})
        return [
            type("Service", (service,), {"id": number, "ca_name": "Other CA"}) for number in range(len(self.chains))
        ]

    def chain(self, service_id: int) -> tuple[bytes, ...]:
        return self.chains[service_id]


def test_another_s_ca_is_watched_once_for_what_its_chain_names(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(THEIRS)], None, None, None)
    below = make_certificate(
        "CN=Other CA",
        ec_key("P-256", 7),
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (x509.CRLDistributionPoints([point]), False),
        ],
    )
    chain = (below, ca_certificate())
    ours = installation.chain()
    monkeypatch.setattr(installation.manager, "services", _Services((chain, chain, ours)))

    theirs = [subject for subject in subjects(installation) if subject.ca == "Other CA"]
    assert [location.url for subject in theirs for location in subject.locations] == [THEIRS]
    assert theirs[0].issuer is not None
    assert theirs[0].issuer.der == ca_certificate()
    leaf = replace(theirs[0].certificate)
    found = known_issuer(installation, leaf)
    assert found is not None
    assert found.subject_name == CA_NAME


def test_only_files_that_a_ca_of_ours_names_are_read(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "list.crl"
    file.write_bytes(b"a list")
    reading = Reading(installation)
    question = Question(f"file://{file}", 100)
    with pytest.raises(LocationError, match="only files that a CA") as refused:
        reading.fetch(question)
    assert refused.value.is_not_asked

    admin = installation.registry.administer(installation.ca().config, installation.operator())
    admin.set_configuration({"cdp-urls": f"file://{file}"})
    assert reading.fetch(question) == b"a list"
    with pytest.raises(LocationError, match="more than 3 bytes"):
        reading.fetch(replace(question, limit=3))
    file.unlink()
    with pytest.raises(LocationError, match="there is no file"):
        reading.fetch(question)


def test_ldap_is_for_members_of_a_domain(installation: Installation) -> None:
    with pytest.raises(LocationError) as refused:
        Reading(installation).fetch(Question("ldap:///CN=CA?cACertificate?base?objectClass=*", 100))
    assert refused.value.is_not_asked


@dataclass
class _Domain:
    """A directory with one entry."""

    entry: Entry | None
    dns_domain: str = "corp.example"

    @property
    def settings(self) -> _Domain:
        return self

    @property
    def pool(self) -> _Domain:
        return self

    def run(self, work: Callable[[Any], Any]) -> Any:
        return work(self)

    def read(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        assert dn == "CN=CA,CN=CDP,DC=corp,DC=example"
        assert attributes == ["certificateRevocationList"]
        return self.entry


LDAP = "ldap://{}/CN=CA,CN=CDP,DC=corp,DC=example?certificateRevocationList?base?objectClass=cRLDistributionPoint"


def test_a_member_reads_the_attribute_that_the_url_names(installation: Installation) -> None:
    entry = Entry.of("CN=CA", {"certificateRevocationList": [b"a list"]})
    for host in ("", "dc1.corp.example"):
        installation.active_directory = _Domain(entry)  # type: ignore[assignment]
        assert Reading(installation).fetch(Question(LDAP.format(host), 100)) == b"a list"
    with pytest.raises(LocationError, match="no domain controller"):
        Reading(installation).fetch(Question(LDAP.format("ldap.elsewhere.example"), 100))
    for gone, words in ((None, "has no entry"), (Entry.of("CN=CA", {}), "has no certificateRevocationList")):
        installation.active_directory = _Domain(gone)  # type: ignore[assignment]
        with pytest.raises(LocationError, match=words):
            Reading(installation).fetch(Question(LDAP.format(""), 100))
    installation.active_directory = None


def test_this_host_s_other_ports_are_not_asked(installation: Installation) -> None:
    """Private networks are, because administrators chose where these certificates lead; loopback is nobody's CDP."""
    with pytest.raises(LocationError, match="not public"):
        Reading(installation).fetch(Question("http://127.0.0.1:5432/x.crl", 100))
