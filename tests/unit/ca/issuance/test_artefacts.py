"""What other people's programs say of our certificates: OpenSSL and GnuTLS verify them, pkilint finds no error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, GeneralFlag
from certwright.ca.policy.base import CertificateSpec
from certwright.pki import names, oids
from certwright.pki.general_names import DnsName, EmailAddress, UserPrincipalName
from tests.support import requests
from tests.support.fake_directory import make_template
from tests.support.issuing import ca_certificate, lint, pem, public_key, signer_for, spec_for, subject
from tests.support.programs import certtool, openssl

SID = "S-1-5-21-1004336348-1177238915-682003330-1101"

_SCHEMA_1: dict[str, Any] = {"schema_version": 1, "flags": GeneralFlag.ADD_TEMPLATE_NAME, "application_policies": ()}


def _user() -> CertificateSpec:
    template = make_template(
        "User",
        extended_key_usage=(oids.EKU_EFS, oids.EKU_EMAIL_PROTECTION, oids.EKU_CLIENT_AUTH),
        enrollment_flag=EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS,
        **_SCHEMA_1,
    )
    sans = (UserPrincipalName("alice@corp.example"), EmailAddress("alice@corp.example"))
    return spec_for(template=template, subject=subject("Alice"), subject_alternative_names=sans, sid=SID)


def _server(template: CertificateTemplate) -> CertificateSpec:
    return spec_for(template=template, subject_alternative_names=(DnsName("web.corp.example"),))


def _domain_controller() -> CertificateSpec:
    usages = (oids.EKU_CLIENT_AUTH, oids.EKU_SERVER_AUTH, oids.EKU_SMART_CARD_LOGON, oids.EKU_KDC_AUTHENTICATION)
    template = make_template(
        "KerberosAuthentication",
        extended_key_usage=usages,
        application_policies=usages,
        critical_extensions=(oids.KEY_USAGE, oids.SUBJECT_ALTERNATIVE_NAME),
    )
    return _server(template)._replace(subject=names.EMPTY, sid=SID)


def _responder() -> CertificateSpec:
    return spec_for(
        template=make_template(
            "OCSPResponseSigning",
            schema_version=3,
            extended_key_usage=(oids.EKU_OCSP_SIGNING,),
            application_policies=(oids.EKU_OCSP_SIGNING,),
            enrollment_flag=EnrollmentFlag.ADD_OCSP_NOCHECK,
        ),
        key_usage=b"\x80",
    )


def _subordinate() -> CertificateSpec:
    template = make_template(
        "SubCA",
        schema_version=1,
        flags=GeneralFlag.IS_CA | GeneralFlag.ADD_TEMPLATE_NAME,
        extended_key_usage=(),
        application_policies=(),
        critical_extensions=(oids.KEY_USAGE, oids.BASIC_CONSTRAINTS),
        max_issuing_depth=-1,
    )
    return spec_for(template=template, subject=subject("Corp Branch CA"), key_usage=b"\x86")


SPECS: dict[str, Callable[[], CertificateSpec]] = {
    "user": _user,
    "web server": functools.partial(_server, make_template(**_SCHEMA_1)),
    "workstation": functools.partial(
        _server, make_template("Workstation", issuance_policies=("1.3.6.1.4.1.99999.2",))
    ),
    "domain controller": _domain_controller,
    "responder": _responder,
    "subordinate CA": _subordinate,
    "no template": functools.partial(spec_for, template=None),
}


@pytest.fixture(params=SPECS)
def certificate(request: pytest.FixtureRequest) -> bytes:
    """Valid today: not every program can be told another day."""
    signer = signer_for()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    spec = SPECS[request.param]()._replace(not_before=yesterday, not_after=yesterday + timedelta(days=365))
    return signer.redeem(signer.prepare(spec, public_key(), 0x1F00_0000_0007_1234_5678_9ABC))


def test_openssl_verifies_them(certificate: bytes, tmp_path: Path) -> None:
    """The chain, strictly by RFC 5280, and every byte as ASN.1."""
    ca = pem(tmp_path, "ca.pem", ca_certificate(requests.ec_key(number=1)))
    leaf = pem(tmp_path, "leaf.pem", certificate)

    assert ": OK" in openssl("verify", "-x509_strict", "-CAfile", ca, leaf)
    assert "Error" not in openssl("asn1parse", "-inform", "DER", data=certificate)


def test_gnutls_verifies_them(certificate: bytes, tmp_path: Path) -> None:
    ca = pem(tmp_path, "ca.pem", ca_certificate(requests.ec_key(number=1)))
    leaf = pem(tmp_path, "leaf.pem", certificate)

    said = certtool("--verify", "--load-ca-certificate", ca, "--infile", leaf)

    assert "The certificate is trusted" in said


@pytest.mark.peer
def test_pkilint_finds_no_error(certificate: bytes, tmp_path: Path) -> None:
    """RFC 5280 as another project reads it."""
    leaf = pem(tmp_path, "leaf.pem", certificate)

    assert not lint("lint_pkix_cert", leaf)


@pytest.mark.peer
def test_pkilint_would_find_one(tmp_path: Path) -> None:
    """A checker that finds nothing in anything proves nothing: a name of 70 characters is too long."""
    signer = signer_for()
    spec = spec_for(subject=subject("x" * 70), not_after=spec_for().not_before + timedelta(days=1))
    leaf = pem(tmp_path, "leaf.pem", signer.redeem(signer.prepare(spec, public_key(), 1)))

    assert lint("lint_pkix_cert", leaf)
