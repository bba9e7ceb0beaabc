"""New CAs: what their certificates say, and that everything about them is on record. [MS-WCCE] 3.2.1.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.events import AuditEvent
from certwright.adcs.properties import CaType
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import RequestState
from certwright.ca.installation import install_root, install_subordinate, issuing, root
from certwright.ca.periods import Period, Unit
from certwright.keystores.base import KeyAlgorithm, KeyExists, KeyUnavailable
from certwright.pki import names, oids
from tests.support.installed import ADMINISTRATOR, HOST, ISSUING_NAME, ROOT_NAME, TwoTier
from tests.support.issuing import lint, pem
from tests.support.memory_ca_database import MemoryCaDatabase
from tests.support.programs import certtool, openssl

P256 = KeyAlgorithm.ECDSA_P256


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> TwoTier:
    return TwoTier(tmp_path_factory.mktemp("installed")).install()


@pytest.fixture
def bare(tmp_path: Path) -> TwoTier:
    return TwoTier(tmp_path)


def certificate_of(database: MemoryCaDatabase) -> x509.Certificate:
    (record,) = database.ca().certificates
    return x509.load_der_x509_certificate(record.der)


def oids_of(certificate: x509.Certificate) -> Sequence[str]:
    return [extension.oid.dotted_string for extension in certificate.extensions]


def test_the_root_says_what_a_root_says(installed: TwoTier) -> None:
    """Self-signed, 20 years, no path length, no CDP, AIA or AKI of its own. RFC 5280 4.2.1."""
    certificate = certificate_of(installed.root_database)

    certificate.verify_directly_issued_by(certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(True, None))
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert set(oids_of(certificate)) == {
        oids.SUBJECT_KEY_IDENTIFIER,
        oids.KEY_USAGE,
        oids.BASIC_CONSTRAINTS,
        oids.CA_VERSION,
    }
    now = installed.clock.now.replace(microsecond=0)
    assert certificate.not_valid_before_utc == now - timedelta(minutes=10)
    assert certificate.not_valid_after_utc == now.replace(year=now.year + 20)


def test_the_issuing_ca_says_what_ad_cs_says(installed: TwoTier) -> None:
    """Template name SubCA, CA version 0, path length 0, and where the root's CRL and certificate lie."""
    certificate = certificate_of(installed.database)

    certificate.verify_directly_issued_by(certificate_of(installed.root_database))
    extensions = certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(True, 0))
    template = extensions.get_extension_for_oid(x509.ObjectIdentifier(oids.CERTIFICATE_TEMPLATE_NAME)).value
    assert template.public_bytes() == b"\x1e\x0a" + "SubCA".encode("utf-16-be")
    version = extensions.get_extension_for_oid(x509.ObjectIdentifier(oids.CA_VERSION)).value
    assert version.public_bytes() == b"\x02\x01\x00"
    points = extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for name in points[0].full_name or ()] == [f"http://{HOST}/CertEnroll/Corp%20Root%20CA.crl"]
    access = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [description.access_location.value for description in access] == [
        f"http://{HOST}/CertEnroll/{HOST}_Corp%20Root%20CA.crt"
    ]
    now = installed.clock.now.replace(microsecond=0)
    assert certificate.not_valid_after_utc == now.replace(year=now.year + 10)


def test_a_ca_never_outlives_its_root(bare: TwoTier) -> None:
    """The shorter of both ends. [MS-WCCE] 3.2.2.6.2.1.4.4.2."""
    short = replace(root("root", P256), validity=Period(2, Unit.YEARS))
    install_root(bare.root_database, bare.keys, short, ADMINISTRATOR, bare.clock())
    install_subordinate(
        bare.root_database, bare.database, bare.keys, issuing("issuing", P256), ADMINISTRATOR, bare.clock()
    )

    ends = [certificate_of(database).not_valid_after_utc for database in (bare.root_database, bare.database)]

    assert ends[0] == ends[1]


def test_both_are_on_record(installed: TwoTier) -> None:
    """Rows 15 and 16 for the CAs' own certificates; what the root issued is its row 20. [MS-CSRA] 3.1.1.1.1."""
    root_row, issued_row = installed.root_database.request(1), installed.root_database.request(2)
    own_row = installed.database.request(1)
    assert root_row
    assert issued_row
    assert own_row

    assert (root_row.state, root_row.common_name) == (RequestState.CA_CERTIFICATE, ROOT_NAME)
    assert (issued_row.state, issued_row.common_name) == (RequestState.ISSUED, ISSUING_NAME)
    assert (own_row.state, own_row.template) == (RequestState.CA_CERTIFICATE_CHAIN, "SubCA")
    certificate = certificate_of(installed.database)
    assert issued_row.certificate
    assert int(issued_row.certificate.serial_number, 16) == certificate.serial_number
    assert installed.root_database.certificate_der(2) == certificate.public_bytes(Encoding.DER)
    request = x509.load_der_x509_csr(installed.root_database.raw_request(2) or b"")
    assert request.is_signature_valid
    assert request.public_key() == certificate.public_key()


def test_both_are_in_the_audit_trail(installed: TwoTier) -> None:
    """Who installed what, with which certificate; the root also tells that it issued."""
    of_root, of_issuing = installed.root_database.events, installed.database.events

    assert [event.event for event in of_root] == [
        AuditEvent.CA_INSTALLED,
        AuditEvent.REQUEST_RECEIVED,
        AuditEvent.CERTIFICATE_ISSUED,
    ]
    (event,) = of_issuing
    assert (event.event, event.ca, event.actor) == (AuditEvent.CA_INSTALLED, ISSUING_NAME, ADMINISTRATOR.account)
    assert event.details["issuer"] == f"CN={ROOT_NAME}"
    assert event.details["key"] == "issuing"


def test_subjects_may_carry_the_domain(bare: TwoTier) -> None:
    """Enterprise CAs append the domain's components to their name."""
    components = ((oids.DOMAIN_COMPONENT, "example"), (oids.DOMAIN_COMPONENT, "corp"))
    subject = names.name_of(*components, (oids.COMMON_NAME, ROOT_NAME))

    install_root(bare.root_database, bare.keys, root("root", P256, subject), ADMINISTRATOR, bare.clock())

    assert certificate_of(bare.root_database).subject.public_bytes() == subject


# -- refusals --------------------------------------------------------------------------------------------------------


def test_a_ca_is_installed_once(installed: TwoTier) -> None:
    with pytest.raises(ConfigurationError, match="installed already"):
        install_root(installed.root_database, installed.keys, root("again", P256), ADMINISTRATOR, installed.clock())

    assert not installed.keys.exists("again")


def test_a_subordinate_needs_an_installed_root(bare: TwoTier) -> None:
    with pytest.raises(ConfigurationError, match="install it first"):
        install_subordinate(
            bare.root_database, bare.database, bare.keys, issuing("issuing", P256), ADMINISTRATOR, bare.clock()
        )


def test_a_subordinate_needs_the_root_s_key(bare: TwoTier, tmp_path: Path) -> None:
    """A root that is offline signs nothing; the error says what to do, and nothing is left behind."""
    install_root(bare.root_database, bare.keys, root("root", P256), ADMINISTRATOR, bare.clock())
    bare.keys.take_offline("root", tmp_path / "root.pem", b"correct horse battery")

    with pytest.raises(KeyUnavailable, match="offline: import"):
        install_subordinate(
            bare.root_database, bare.database, bare.keys, issuing("issuing", P256), ADMINISTRATOR, bare.clock()
        )

    assert not bare.database.ca().certificates
    assert not bare.keys.exists("issuing")


def test_no_ca_below_one_that_allows_none(installed: TwoTier) -> None:
    """RFC 5280 4.2.1.9: the issuing CA has path length 0."""
    settings = CaConfiguration.for_new_ca(CaType.ENTERPRISE_SUBORDINATE, dns_name=HOST).as_settings()
    branch = MemoryCaDatabase("Corp Branch CA", CaType.ENTERPRISE_SUBORDINATE, ISSUING_NAME, settings)

    with pytest.raises(ConfigurationError, match="path length 0"):
        install_subordinate(
            installed.database, branch, installed.keys, issuing("branch", P256), ADMINISTRATOR, installed.clock()
        )

    assert not installed.keys.exists("branch")


def test_a_subject_must_end_in_the_ca_s_name(bare: TwoTier) -> None:
    """Clients find the CA by its common name; a refusal leaves no key behind."""
    new = root("root", P256, names.name_of((oids.COMMON_NAME, "Another CA")))

    with pytest.raises(ConfigurationError, match="does not end in CN=Corp Root CA"):
        install_root(bare.root_database, bare.keys, new, ADMINISTRATOR, bare.clock())

    assert not bare.keys.exists("root")


def test_names_longer_than_x_500_allows_are_refused(bare: TwoTier) -> None:
    """ub-common-name is 64. RFC 5280 appendix A.1."""
    database = MemoryCaDatabase("C" * 65, CaType.STANDALONE_ROOT)

    with pytest.raises(ConfigurationError, match="CN has 65 characters, 64 are allowed"):
        install_root(database, bare.keys, root("root", P256), ADMINISTRATOR, bare.clock())


def test_keys_are_never_replaced(bare: TwoTier) -> None:
    """A name that is taken stays what it was."""
    kept = bare.keys.create("root", P256).public_key

    with pytest.raises(KeyExists):
        install_root(bare.root_database, bare.keys, root("root", P256), ADMINISTRATOR, bare.clock())

    assert bare.keys.open("root").public_key == kept


# -- other people's programs -----------------------------------------------------------------------------------------


def test_openssl_and_gnutls_verify_the_chain(installed: TwoTier, tmp_path: Path) -> None:
    top = pem(tmp_path, "root.pem", installed.root_database.ca().certificates[0].der)
    below = pem(tmp_path, "issuing.pem", installed.database.ca().certificates[0].der)

    assert ": OK" in openssl("verify", "-x509_strict", "-CAfile", top, below)
    assert "The certificate is trusted" in certtool("--verify", "--load-ca-certificate", top, "--infile", below)


@pytest.mark.peer
def test_pkilint_finds_no_error(installed: TwoTier, tmp_path: Path) -> None:
    top = pem(tmp_path, "root.pem", installed.root_database.ca().certificates[0].der)
    below = pem(tmp_path, "issuing.pem", installed.database.ca().certificates[0].der)

    assert not lint("lint_pkix_cert", top)
    assert not lint("lint_pkix_cert", below)
    assert not lint("lint_pkix_signer_signee_cert_chain", top, below)
