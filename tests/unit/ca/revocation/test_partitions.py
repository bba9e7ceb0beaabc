"""CRL partitions by request ID: who names which list, what it says, and that others believe it. RFC 5280 5.2.5."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.roles import RevocationReason
from certwright.ca.authority import Authority
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CrlRecord
from certwright.ca.revocation.partitions import number_of
from certwright.ca.revocation.publication import CrlPublisher, FolderTarget
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlView
from certwright.pki.extensions import decode_crl_distribution_points
from tests.support.installed import ADMINISTRATOR, TwoTier
from tests.support.issued import certificate_of, issue_row, revoke, serials
from tests.support.issuing import lint, pem
from tests.support.programs import certtool, openssl
from tests.unit.ca.revocation.test_delta import HOUR, configure

ACTOR = ADMINISTRATOR.account
SIZE = 100
FULL, FIRST, SECOND = (f"Corp Issuing CA{suffix}.crl" for suffix in ("", "_Partition00001", "_Partition00002"))


@pytest.fixture
def installed(tmp_path: Path) -> TwoTier:
    installed = TwoTier(tmp_path).install()
    configure(installed, **{"crl-partition-size": str(SIZE)})
    return installed


@pytest.fixture
def authority(installed: TwoTier) -> Authority:
    return installed.authority()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "published"


@pytest.fixture
def publisher(folder: Path) -> CrlPublisher:
    return CrlPublisher((FolderTarget(folder),))


def next_range(authority: Authority) -> None:
    """Let requests come until the next range begins."""
    while True:
        with authority.transaction() as transaction:
            if transaction.next_request_id() % SIZE == 0:
                return


def named(authority: Authority, serial: str) -> list[str]:
    """The files of the CRLs that a certificate names."""
    view = CertificateView.parse(certificate_of(authority, serial))
    points = view.extensions[oids.CRL_DISTRIBUTION_POINTS]
    return [url.rpartition("/")[2].replace("%20", " ") for url in decode_crl_distribution_points(points.value)]


def by_partition(made: tuple[CrlRecord, ...]) -> dict[int, CrlRecord]:
    return {crl.partition: crl for crl in made if not crl.min_base}


@pytest.mark.parametrize(("request_id", "number"), [(1, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_ranges_are_counted_off(request_id: int, number: int) -> None:
    assert number_of(request_id, SIZE) == number


def test_nobody_names_a_list_that_is_not_there_yet(authority: Authority, publisher: CrlPublisher) -> None:
    before = issue_row(authority)
    publisher.publish(authority, ACTOR)
    after = issue_row(authority)

    assert named(authority, before) == [FULL]
    assert named(authority, after) == [FIRST]


def test_the_next_range_s_list_is_ready_before_it_begins(
    authority: Authority, publisher: CrlPublisher, folder: Path
) -> None:
    publisher.publish(authority, ACTOR)
    assert {path.name for path in folder.glob("*.crl")} == {FULL, FIRST, SECOND}

    next_range(authority)
    second = issue_row(authority)
    assert named(authority, second) == [SECOND]
    assert publisher.is_due(authority, authority.clock())
    assert publisher.publish_due(authority, ACTOR, authority.clock())
    assert {path.name for path in folder.glob("*_Partition*.crl")} == {
        FIRST.replace("1.", "2."),
        FIRST.replace("1.", "3."),
        FIRST,
    }
    assert not publisher.is_due(authority, authority.clock())


def test_a_new_range_s_list_is_made_alone(authority: Authority, publisher: CrlPublisher) -> None:
    """The others keep their number: a list of a million entries is not made anew for it."""
    publisher.publish(authority, ACTOR)
    next_range(authority)
    publisher.publish_due(authority, ACTOR, authority.clock())

    database = authority.database
    numbers = {n: crl.number for n in range(4) if (crl := database.latest_crl(0, partition=n)) is not None}
    assert numbers == {0: 1, 1: 1, 2: 1, 3: 2}


def test_each_list_has_its_own_and_the_full_one_has_all(
    installed: TwoTier, authority: Authority, publisher: CrlPublisher
) -> None:
    old = issue_row(authority)
    publisher.publish(authority, ACTOR)
    first = issue_row(authority)
    next_range(authority)
    second = issue_row(authority)
    for serial in (old, first, second):
        revoke(authority, serial)

    made = by_partition(publisher.publish(authority, ACTOR))
    assert sorted(serials(made[0])) == sorted((old, first, second))
    assert serials(made[1]) == [first]
    assert serials(made[2]) == [second]
    assert serials(made[3]) == []
    assert {crl.number for crl in made.values()} == {2}


def test_a_list_says_for_whom_it_is_and_the_full_one_is_for_all(
    authority: Authority, publisher: CrlPublisher
) -> None:
    publisher.publish(authority, ACTOR)
    serial = issue_row(authority)
    made = by_partition(publisher.publish(authority, ACTOR))

    point = x509.load_der_x509_crl(made[1].der).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    certificate = x509.load_der_x509_certificate(certificate_of(authority, serial))
    (own,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.value.full_name == own.full_name
    assert not CrlView.parse(made[0].der).distribution_points


def test_a_delta_of_a_range_is_for_it_too(installed: TwoTier, authority: Authority, publisher: CrlPublisher) -> None:
    configure(installed, **{"delta-crl-period": "1 days"})
    publisher.publish(authority, ACTOR)
    serial, held = issue_row(authority), issue_row(authority)
    revoke(authority, held, RevocationReason.CERTIFICATE_HOLD)
    installed.clock.turn(HOUR)
    publisher.publish(authority, ACTOR)
    installed.clock.turn(HOUR)
    revoke(authority, serial)
    revoke(authority, held, None)

    made = publisher.publish(authority, ACTOR)
    deltas = {crl.partition: CrlView.parse(crl.der) for crl in made if crl.min_base}
    bases = {crl.partition: CrlView.parse(crl.der) for crl in made if not crl.min_base}
    assert sorted(deltas) == [0, 1, 2]
    assert deltas[1].distribution_points == bases[1].distribution_points
    assert {entry.reason.name for entry in deltas[1].entries() if entry.reason} == {"SUPERSEDED", "REMOVE_FROM_CRL"}
    assert list(deltas[2].entries()) == []
    freshest = x509.load_der_x509_crl(bases[1].der).extensions.get_extension_for_class(x509.FreshestCRL)
    (url,) = [name for point in freshest.value for name in point.full_name or ()]
    assert url.value.endswith("_Partition00001+.crl")


def test_openssl_and_gnutls_believe_a_range_s_list_and_no_other(
    installed: TwoTier, authority: Authority, publisher: CrlPublisher, folder: Path, tmp_path: Path
) -> None:
    publisher.publish(authority, ACTOR)
    good, revoked = issue_row(authority), issue_row(authority)
    revoke(authority, revoked)
    publisher.publish(authority, ACTOR)

    ca = pem(tmp_path, "ca.pem", installed.database.ca().certificates[0].der)
    paths = {serial: pem(tmp_path, f"{serial}.pem", certificate_of(authority, serial)) for serial in (good, revoked)}
    check = ("verify", "-partial_chain", "-x509_strict", "-crl_check", "-extended_crl", "-CAfile", ca, "-CRLfile")
    assert ": OK" in openssl(*check, folder / FIRST, paths[good])
    assert "certificate revoked" in openssl(*check, folder / FIRST, paths[revoked], check=False)
    assert ": OK" in openssl(*check, folder / FULL, paths[good])
    assert ": OK" not in openssl(*check, folder / SECOND, paths[good], check=False), "another range's list"

    text = tmp_path / "crl.pem"
    text.write_text(openssl("crl", "-inform", "DER", "-in", folder / FIRST))
    assert "Verification output: Verified" in certtool("--verify-crl", "--load-ca-certificate", ca, "--infile", text)


@pytest.mark.peer
@pytest.mark.parametrize("partition", [1, 2])
def test_pkilint_finds_no_error(
    authority: Authority, publisher: CrlPublisher, folder: Path, tmp_path: Path, partition: int
) -> None:
    publisher.publish(authority, ACTOR)
    revoke(authority, issue_row(authority))
    publisher.publish(authority, ACTOR)

    assert not lint("lint_crl", "-t", "CRL", "-p", "PKIX", folder / (FIRST, SECOND)[partition - 1])


def test_a_range_whose_certificates_have_expired_has_no_list_any_more(
    installed: TwoTier, authority: Authority, publisher: CrlPublisher
) -> None:
    publisher.publish(authority, ACTOR)
    issue_row(authority, days=30)
    next_range(authority)
    next_range(authority)
    installed.clock.turn(timedelta(days=31))

    made = by_partition(publisher.publish(authority, ACTOR))
    assert sorted(made) == [0, 3, 4]

    configure(installed, **{"crl-keeps-expired": "on"})
    assert sorted(by_partition(publisher.publish(authority, ACTOR))) == [0, 1, 3, 4], "unless expired ones stay on it"


def test_switched_off_the_lists_go_on_for_those_that_name_them(
    installed: TwoTier, authority: Authority, publisher: CrlPublisher
) -> None:
    publisher.publish(authority, ACTOR)
    first = issue_row(authority)
    configure(installed, **{"crl-partition-size": "off"})
    later = issue_row(authority)
    revoke(authority, first)

    made = by_partition(publisher.publish(authority, ACTOR))
    assert named(authority, later) == [FULL]
    assert sorted(made) == [0, 1]
    assert serials(made[1]) == [first]


def test_another_size_takes_no_certificate_off_its_list(
    installed: TwoTier, authority: Authority, publisher: CrlPublisher
) -> None:
    publisher.publish(authority, ACTOR)
    next_range(authority)
    second = issue_row(authority)
    configure(installed, **{"crl-partition-size": "1000"})
    revoke(authority, second)

    made = by_partition(publisher.publish(authority, ACTOR))
    assert named(authority, second) == [SECOND]
    assert second in serials(made[2])


@pytest.mark.parametrize("urls", ["http://pki.corp.example/ca.crl", "ldap:///CN=%7%8%10", "none"])
def test_urls_must_tell_the_ranges_apart(urls: str) -> None:
    configuration = CaConfiguration.load({"dns-name": "ca.corp.example", "directory-dn": "DC=corp", "cdp-urls": urls})
    with pytest.raises(ConfigurationError, match="has %8"):
        configuration.changed({"crl-partition-size": "1000"})


def test_the_directory_holds_each_list_under_a_name_of_its_own(installed: TwoTier, authority: Authority) -> None:
    """Certificates of a range name it there as well, as with Windows; their list says that it is for both."""
    http = "http://%1/CertEnroll/%3%8%9.crl"
    ldap = "ldap:///CN=%7%8,CN=CDP,%6%10"
    configure(installed, **{"directory-dn": "DC=corp", "cdp-urls": f"{ldap} {http}"})
    publisher = CrlPublisher(())
    made = publisher.publish(authority, ACTOR)

    view = CertificateView.parse(certificate_of(authority, issue_row(authority)))
    points = decode_crl_distribution_points(view.extensions[oids.CRL_DISTRIBUTION_POINTS].value)
    assert [url.rpartition("/")[2].partition(",")[0] for url in points] == [
        "CN=Corp%20Issuing%20CA_Partition00001",
        FIRST.replace(" ", "%20"),
    ]
    assert CrlView.parse(by_partition(made)[1].der).distribution_points == points


@pytest.mark.parametrize("text", ["99", "-1", "1e6", "10000001", "many"])
def test_sizes_are_sensible(text: str) -> None:
    with pytest.raises(ConfigurationError, match="neither off nor a number"):
        CaConfiguration.load({"crl-partition-size": text})
