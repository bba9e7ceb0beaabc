"""CRLs in a real Active Directory: those that we publish, key by key and partition by partition; and those of CAs
elsewhere, which the responder copies from there."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certwright.adcs.errors import AccessDenied
from certwright.adcs.events import AuditEvent
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.certificate_pair import CertificatePair
from certwright.server.composition import Installation
from certwright.server.duties import publish_due_crls, publish_in_domain
from certwright.server.home import Home
from tests.domain.test_publication import as_administrator, ldapsearch
from tests.support.copying import with_key
from tests.support.foreign_ca import COMPROMISED, ForeignCa, named
from tests.support.joined import JoinedServer, administrator_of, services_dn
from tests.support.lab import Lab
from tests.support.programs import openssl

NETBIOS = "CRL"
ROOT = f"{NETBIOS} Root CA"
PATIENCE = 10.0


@pytest.fixture(scope="module")
def server(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    """Joined, published by the domain's Administrator once, and running."""
    folder = tmp_path_factory.mktemp("crls")
    server = JoinedServer.prepare(folder, ad, NETBIOS)
    administrator = as_administrator(ad, folder)
    server.cli("domain", "publish", *administrator)
    server.start()
    yield server
    server.stop()
    server.cli("ca", "set", "crl-partition-size=off")  # whose objects nobody plans any more
    server.cli("domain", "unpublish", *administrator)
    host = ad.ca_host.partition(".")[0].upper()
    assert not ldapsearch(ad, f"CN=CDP,{services_dn(ad)}", f"(cn={host})"), "nothing of keys and partitions stays"


def points(ad: Lab, server: JoinedServer) -> dict[str, dict[str, list[str]]]:
    """What OpenLDAP's tool finds in the container of this host, by common name."""
    host = ad.ca_host.partition(".")[0].upper()
    found = ldapsearch(ad, f"CN={host},CN=CDP,{services_dn(ad)}", "(objectClass=cRLDistributionPoint)")
    return {entry["cn"][0]: entry for entry in found}


def crl(entry: dict[str, list[str]], attribute: str = "certificateRevocationList") -> bytes:
    (value,) = entry[attribute]
    return base64.b64decode(value)


def own(server: JoinedServer, *options: str) -> bytes:
    return armor.dearmor(server.cli("ca", "crl", *options))


# -- what we publish -------------------------------------------------------------------------------------------------


def test_each_partition_and_its_delta_has_its_object(ad: Lab, server: JoinedServer) -> None:
    """`CN=<CA>_Partition00001`, written by the service account as soon as the lists are made."""
    server.cli("ca", "set", "crl-partition-size=100", "delta-crl-period=1 days")
    server.cli("ca", "publish-crl")

    found = points(ad, server)

    for partition in (1, 2):
        entry = found[f"{server.ca_name}_Partition{partition:05}"]
        assert crl(entry) == own(server, "--partition", str(partition))
        assert crl(entry, "deltaRevocationList") == own(server, "--partition", str(partition), "--delta")
    assert crl(found[server.ca_name]) == own(server)
    assert crl(found[server.ca_name], "deltaRevocationList") == own(server, "--delta")


def test_certificates_name_the_object_of_their_partition(ad: Lab, server: JoinedServer) -> None:
    """What they name is read there, and says that it is for them."""
    ldap = "ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public%%20Key%%20Services,CN=Services,%6%10"
    server.cli("ca", "set", f"cdp-urls={ldap} http://%1/CertEnroll/%3%8%9.crl")
    server.cli("ca", "publish-crl")
    with Installation.open(Home.open(server.home)) as installation:
        urls = installation.ca().authority.generations.current().signer.urls(1)
    (named_there,) = [url for url in urls.cdp if url.startswith("ldap:")]

    dn = named_there.removeprefix("ldap:///").partition("?")[0].replace("%20", " ")
    (entry,) = ldapsearch(ad, dn, "(objectClass=cRLDistributionPoint)")

    read = x509.load_der_x509_crl(crl(entry))
    point = read.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert named_there in [name.value for name in point.value.full_name or ()]


def test_every_key_has_its_object_and_the_cross_certificates_lie_beside_the_ca_s(
    ad: Lab, server: JoinedServer
) -> None:
    """By the service account, all but the forest's trust in the new certificate; that an administrator gives."""
    server.cli("ca", "renew", ROOT, "--new-key", "ecdsa-p256")
    server.cli("ca", "publish-crl", ROOT)
    with Installation.open(Home.open(server.home)) as installation:
        with pytest.raises(AccessDenied, match="CN=Certification Authorities"):
            publish_in_domain(installation, installation.clock())
        record = installation.ca(ROOT).authority.database.ca()

    found = points(ad, server)
    for key_index, name in ((0, ROOT), (1, f"{ROOT}(1)")):
        assert crl(found[name]) == own(server, ROOT, "--key", str(key_index))
    (aia,) = ldapsearch(ad, f"CN=AIA,{services_dn(ad)}", f"(cn={ROOT})")
    (pair,) = [CertificatePair.parse(base64.b64decode(each)) for each in aia["crossCertificatePair"]]
    old, new = (CertificateView.parse(each.der) for each in sorted(record.certificates, key=lambda each: each.index))
    assert CertificateView.parse(pair.issued_to).public_key == new.public_key
    assert CertificateView.parse(pair.issued_by).public_key == old.public_key
    CertificateView.parse(pair.issued_to).verify_signed_by(old)
    CertificateView.parse(pair.issued_by).verify_signed_by(new)


def test_what_the_directory_does_not_take_is_told_and_tried_again(ad: Lab, server: JoinedServer) -> None:
    """The folder has the list meanwhile; event 74 once, and the object's return is enough."""
    host = ad.ca_host.partition(".")[0].upper()
    container = f"CN={host},CN=CDP,{services_dn(ad)}"
    with administrator_of(ad) as connection:
        for name in points(ad, server):
            connection.delete(f"CN={name},{container}")
        connection.delete(container)

    done = server.run("ca", "publish-crl", "--json")

    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert f"Active Directory {ad.dns_domain}" in done.stderr
    states = {(each["target"], each["file"]): each for each in told["published"]}
    file = f"{server.ca_name}.crl"
    there = states[str(server.home / "published"), file]
    assert (there["number"], there["error"]) == (told["number"], "")
    missing = states[f"Active Directory {ad.dns_domain}", file]
    assert missing["delivered_when"] is None
    assert missing["error"]
    (event, *_) = server.json("audit", "list", "--event", str(int(AuditEvent.BASE_CRL_NOT_IN_DIRECTORY)))
    assert event["details"]["target"] == f"Active Directory {ad.dns_domain}"

    server.cli("domain", "publish", *as_administrator(ad, server.home.parent))
    with Installation.open(Home.open(server.home)) as installation:
        publish_due_crls(installation, installation.clock())
    assert crl(points(ad, server)[server.ca_name]) == own(server)
    published: list[dict[str, Any]] = server.json("ca", "show")["published"]
    assert [each["error"] for each in published] == [""] * len(published)


# -- what we copy ----------------------------------------------------------------------------------------------------


class ElsewhereInDirectory:
    """A CA of somebody else that publishes into the domain, as a Microsoft CA does."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ca = ForeignCa("Elsewhere Issuing CA")
        self.container = f"CN=OTHERHOST,CN=CDP,{services_dn(lab)}"

    def url(self, suffix: str = "", attribute: str = "certificateRevocationList") -> str:
        dn = quote(f"CN={self.ca.name}", safe="=") + suffix + "," + quote(self.container, safe="=,")
        return f"ldap:///{dn}?{attribute}?base?objectClass=cRLDistributionPoint"

    def publish(self, crl: bytes, suffix: str = "", attribute: str = "certificateRevocationList") -> None:
        dn = f"CN={self.ca.name}{suffix},{self.container}"
        with administrator_of(self.lab) as connection:
            if connection.read(self.container, ["cn"]) is None:
                connection.add(self.container, {"objectClass": (b"top", b"container")})
            if connection.read(dn, ["cn"]) is not None:
                connection.delete(dn)
            connection.add(dn, {"objectClass": (b"top", b"cRLDistributionPoint"), attribute: (crl,)})

    def forget(self) -> None:
        base = self.container
        with administrator_of(self.lab) as connection:
            for entry in ldapsearch(self.lab, base, "(objectClass=cRLDistributionPoint)", "cn"):
                connection.delete(entry["dn"][0])
            connection.delete(base)


@pytest.fixture
def elsewhere(ad: Lab, server: JoinedServer) -> Iterator[ElsewhereInDirectory]:
    made = ElsewhereInDirectory(ad)
    yield made
    server.run("responder", "remove", "--ca", made.ca.name)
    made.forget()


def answer_for(server: JoinedServer, elsewhere: ElsewhereInDirectory, folder: Path, *options: str) -> None:
    """Let the running server answer for the CA from what lies in the directory."""
    certificate, signer = folder / "elsewhere.crt", folder / "signer.pem"
    certificate.write_bytes(elsewhere.ca.pem)
    key = ec.generate_private_key(ec.SECP256R1())
    signer.write_bytes(with_key(elsewhere.ca.sign_responder(key.public_key()), key))
    server.cli("responder", "add", str(certificate), *options)
    server.cli("responder", "install", str(signer), "--ca", elsewhere.ca.name)
    server.cli("responder", "enable", "--ca", elsewhere.ca.name)


def asked(server: JoinedServer, elsewhere: ElsewhereInDirectory, folder: Path, serial: int, wanted: str) -> str:
    """What OpenSSL is told; processes hear of another list within a moment."""
    issuer = folder / "elsewhere.crt"
    deadline = time.monotonic() + PATIENCE
    while True:
        said = openssl(
            *("ocsp", "-issuer", issuer, "-serial", f"0x{serial:x}", "-CAfile", issuer, "-no_nonce"),
            *("-url", f"http://{server.host}:{server.http_port}/ocsp"),
            check=False,
        )
        if re.search(wanted, said) or time.monotonic() > deadline:
            return said


def test_a_responder_copies_crls_from_the_directory(
    ad: Lab, server: JoinedServer, elsewhere: ElsewhereInDirectory, tmp_path: Path
) -> None:
    elsewhere.publish(elsewhere.ca.crl({1: COMPROMISED}, number=5))
    answer_for(server, elsewhere, tmp_path, "--crl", elsewhere.url())
    assert "0x1: revoked" in asked(server, elsewhere, tmp_path, 1, "0x1: revoked")
    assert "0x7: good" in asked(server, elsewhere, tmp_path, 7, "0x7: good")

    elsewhere.publish(elsewhere.ca.crl({1: COMPROMISED, 7: None}, number=6))
    server.cli("responder", "copy", "--ca", elsewhere.ca.name)
    assert "0x7: revoked" in asked(server, elsewhere, tmp_path, 7, "0x7: revoked")

    with administrator_of(ad) as connection:
        connection.delete(f"CN={elsewhere.ca.name},{elsewhere.container}")
    refused = server.run("responder", "copy", "--ca", elsewhere.ca.name)
    assert "the directory has no entry" in refused.stderr
    assert "0x7: revoked" in asked(server, elsewhere, tmp_path, 7, "0x7: revoked")


def test_partitions_in_the_directory_are_found_one_after_the_other(
    server: JoinedServer, elsewhere: ElsewhereInDirectory, tmp_path: Path
) -> None:
    for number in (1, 2):
        suffix = f"_Partition{number:05}"
        point = [named(elsewhere.url(suffix))]
        elsewhere.publish(elsewhere.ca.crl({number: COMPROMISED}, number=5, extensions=point), suffix)
    answer_for(server, elsewhere, tmp_path, "--crl", elsewhere.url("<CRLPartitionIndex>"), "--partitions", "1-")

    for number in (1, 2):
        assert f"0x{number}: revoked" in asked(server, elsewhere, tmp_path, number, f"0x{number}: revoked")
    assert "0x7: good" in asked(server, elsewhere, tmp_path, 7, "0x7: good")
