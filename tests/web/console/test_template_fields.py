"""What a field of the editor does: the refusal it causes, or what it changes in a certificate. [MS-CRTD] 2.

Each row changes one field of a template in the console and then asks the CA for a certificate from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from certwright.adcs.errors import HResult
from certwright.adcs.request import Disposition, Response, template_attributes
from certwright.adcs.template_settings import apply_settings
from certwright.console.template_editor.fields import TABS
from certwright.server.composition import Installation
from certwright.wire.certsrv.options import TemplateOption
from tests.support.installation import ISSUING, OPERATOR, GateTemplates, People
from tests.support.requests import rsa_key, web_server_request
from tests.web.console.conftest import Browser
from tests.web.console.test_ca_pages import requester
from tests.web.console.test_template_editor import Editor, form_in

NAME: Final = "TriedOut"
_numbers = count(1)


@pytest.fixture
def template(installation: Installation) -> Iterator[str]:
    """A web server template of schema 4 that Web Enrollees may enroll for, issued by the CA."""
    administration = installation.directory_administration
    administration.duplicate_template(GateTemplates.SHORT, NAME, "Tried Out", actor=OPERATOR)
    administration.change_template(
        NAME,
        lambda before: apply_settings(before, {"schema-version": "4", "renewal-period": "1 day"}),
        actor=OPERATOR,
    )
    administration.publish(ISSUING, NAME, actor=OPERATOR)
    yield NAME
    administration.unpublish(ISSUING, NAME, actor=OPERATOR)
    administration.delete_template(NAME, actor=OPERATOR)


@pytest.fixture
def change(sign_in: Callable[..., Browser], template: str) -> Callable[[dict[str, Any]], None]:
    """Change fields in the editor, as a CA administrator does."""
    browser = sign_in(People.CA_ADMINISTRATOR)

    def save(changes: dict[str, Any]) -> None:
        editor = Editor(browser, template)
        editor.form = form_in(editor.post("general/look/", changes))  # as the page does when others depend on a field
        answer = editor.post("general/", changes)
        assert answer.status_code == 302, answer.content.decode()[:4000]

    return save


def ask(installation: Installation, *, key: Any = None, who: str = People.ENROLLEE) -> Response:
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    door = installation.registry.connect(config, requester(installation, who))
    host = f"host{next(_numbers)}.corp.example"
    return door.submit(web_server_request(host, key=key), template_attributes(NAME))


def issued(response: Response) -> x509.Certificate:
    assert response.is_issued, response.message
    return x509.load_der_x509_certificate(response.certificate or b"")


def extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> x509.Extension[Any] | None:
    try:
        return certificate.extensions.get_extension_for_oid(oid)
    except x509.ExtensionNotFound:
        return None


REFUSED: Final[dict[str, tuple[dict[str, Any], HResult]]] = {
    "minimal-key-size": ({"minimal-key-size": "3072"}, HResult.CERTSRV_E_KEY_LENGTH),
    "key-algorithm": ({"key-algorithm": "ecdsa-p384"}, HResult.CERTSRV_E_KEY_LENGTH),
    "archive-key": ({"archive-key": "on"}, HResult.CERTSRV_E_ARCHIVED_KEY_REQUIRED),
    "key-attestation": ({"key-attestation": "required"}, HResult.CERTSRV_E_KEY_ATTESTATION),
    "signatures": ({"signatures": "1"}, HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED),
    "name rules": ({"rule-value": ["lab.example"], "outside": "deny"}, HResult.CERTSRV_E_BAD_REQUESTSUBJECT),
    "renewal-period": (
        {"validity-period": "30 years", "renewal-period": "20 years"},
        HResult.CERTSRV_E_CERT_TYPE_OVERLAP,
    ),
    "alternative-names": (
        {"enrollee-supplies-subject": "off", "subject": "none", "alternative-names": ["dns"]},
        HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED,
    ),
}


@pytest.mark.parametrize("field", REFUSED)
def test_a_field_causes_its_refusal(
    installation: Installation, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    changes, status = REFUSED[field]
    assert ask(installation, key=rsa_key()).is_issued
    change(changes)
    response = ask(installation, key=rsa_key())
    assert (response.disposition, response.status) == (Disposition.DENIED, status)


def test_a_computers_template_is_for_computers(
    installation: Installation, change: Callable[[dict[str, Any]], None]
) -> None:
    """[MS-WCCE] 3.2.2.6.2.1.4.4.1: MACHINE_TYPE, and names from the directory."""
    change({"enrollee-supplies-subject": "off", "subject": "common-name", "machine": "off"})
    assert ask(installation).is_issued
    change({"machine": "on"})
    assert ask(installation).status is HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED
    assert ask(installation, who=People.COMPUTER).is_issued


def test_approval_makes_it_wait(installation: Installation, change: Callable[[dict[str, Any]], None]) -> None:
    change({"approval": "on"})
    assert ask(installation).disposition is Disposition.UNDER_SUBMISSION
    change({"approval": [], "rule-value": ["lab.example"], "outside": "pend"})
    assert ask(installation).disposition is Disposition.UNDER_SUBMISSION


def test_who_has_lost_enroll_is_refused(installation: Installation, change: Callable[[dict[str, Any]], None]) -> None:
    group = installation.directory.principal("Web Enrollees")
    assert group is not None
    change({f"ace-{group.sid}": ["read"]})
    assert ask(installation).status is HResult.CERTSRV_E_TEMPLATE_DENIED


def _eku(certificate: x509.Certificate) -> list[str]:
    found = extension(certificate, ExtensionOID.EXTENDED_KEY_USAGE)
    return [usage.dotted_string for usage in found.value] if found else []


def _policies(certificate: x509.Certificate) -> list[str]:
    found = extension(certificate, ExtensionOID.CERTIFICATE_POLICIES)
    return [policy.policy_identifier.dotted_string for policy in found.value] if found else []


def _has(dotted: str) -> Callable[[x509.Certificate], bool]:
    return lambda certificate: extension(certificate, x509.ObjectIdentifier(dotted)) is not None


def _critical(dotted: str) -> Callable[[x509.Certificate], bool]:
    def look(certificate: x509.Certificate) -> bool:
        found = extension(certificate, x509.ObjectIdentifier(dotted))
        return found is not None and found.critical

    return look


def _signs_only(certificate: x509.Certificate) -> bool:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    return usage.digital_signature and not usage.key_encipherment


FROM_DIRECTORY: Final = {"enrollee-supplies-subject": "off", "machine": "off"}
CHANGED: Final[dict[str, tuple[dict[str, Any], Callable[[x509.Certificate], Any], Any, Any]]] = {
    "validity-period": (
        {"validity-period": "3 days"},
        lambda certificate: (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days,
        7,
        3,
    ),
    "eku": ({"eku": ["1.3.6.1.5.5.7.3.3"]}, _eku, ["1.3.6.1.5.5.7.3.1"], ["1.3.6.1.5.5.7.3.3"]),
    "key-usage": ({"key-usage": ["digitalSignature"]}, _signs_only, False, True),
    "purpose": ({"purpose": "signature"}, _signs_only, False, True),
    "critical-extensions": ({"critical-extensions": ["2.5.29.37"]}, _critical("2.5.29.37"), False, True),
    "basic-constraints": ({"basic-constraints": "on"}, _has("2.5.29.19"), False, True),
    "issuance-policies": ({"issuance-policies": "1.2.3.4"}, _policies, [], ["1.2.3.4"]),
    "issuance-policies-from-request": (
        {"issuance-policies": "1.2.3.4", "issuance-policies-from-request": "on"},
        _policies,
        [],
        [],
    ),
    "smime-capabilities": ({"smime-capabilities": "on"}, _has("1.2.840.113549.1.9.15"), False, True),
    "revocation-information": ({"revocation-information": []}, _has("2.5.29.31"), True, False),
    "ocsp-nocheck": (
        {"ocsp-nocheck": "on", "eku": ["1.3.6.1.5.5.7.3.9"]},
        _has("1.3.6.1.5.5.7.48.1.5"),
        False,
        True,
    ),
    "enrollee-supplies-subject": (
        FROM_DIRECTORY | {"subject": "common-name", "alternative-names": ["upn"]},
        lambda certificate: certificate.subject.rfc4514_string().endswith(".corp.example"),
        True,
        False,
    ),
    "subject": (
        FROM_DIRECTORY | {"subject": "directory-path"},
        lambda certificate: "DC=corp" in certificate.subject.rfc4514_string(),
        False,
        True,
    ),
    "sid-extension": (
        FROM_DIRECTORY | {"subject": "common-name", "sid-extension": []},
        _has("1.3.6.1.4.1.311.25.2"),
        False,
        False,
    ),
}
"""What is posted, what is looked at, and what it is before and after."""


@pytest.mark.parametrize("field", CHANGED)
def test_a_field_changes_the_certificate(
    installation: Installation, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    changes, look, before, after = CHANGED[field]
    assert look(issued(ask(installation, key=rsa_key()))) == before
    change(changes)
    assert look(issued(ask(installation, key=rsa_key()))) == after


def test_the_sid_is_in_certificates_that_name_an_account(
    installation: Installation, change: Callable[[dict[str, Any]], None]
) -> None:
    """The other side of `sid-extension`."""
    change(FROM_DIRECTORY | {"subject": "common-name"})
    assert _has("1.3.6.1.4.1.311.25.2")(issued(ask(installation)))


CLIENTS: Final[dict[str, tuple[dict[str, Any], Callable[[TemplateOption], Any]]]] = {
    "exportable-key": ({"exportable-key": "on"}, lambda option: option.key_flags & 1),
    "strong-key-protection": ({"strong-key-protection": "on"}, lambda option: option.key_flags & 2),
    "providers": ({"providers": "Our Provider"}, lambda option: option.providers == ("Our Provider",)),
    "display-name": ({"display-name": "Renamed"}, lambda option: option.display_name == "Renamed"),
    "user-interaction": ({"user-interaction": "on"}, lambda option: option.enrollment_flags & 0x100),
    "remove-invalid": ({"remove-invalid": "on"}, lambda option: option.enrollment_flags & 0x400),
    "key-reuse": ({"key-reuse": "on"}, lambda option: option.enrollment_flags & 0x2000),
    "autoenrollment": ({"autoenrollment": "on"}, lambda option: option.enrollment_flags & 0x20),
    "check-directory": ({"check-directory": "on"}, lambda option: option.enrollment_flags & 0x10),
    "publish-to-directory": ({"publish-to-directory": "on"}, lambda option: option.enrollment_flags & 0x8),
    "renewal-without-approval": ({"renewal-without-approval": "on"}, lambda option: option.enrollment_flags & 0x40),
    "key-based-renewal": ({"key-based-renewal": "on"}, lambda option: option.enrollment_flags & 0x10000),
    "same-key-renewal": ({"same-key-renewal": "on"}, lambda option: option.private_key_flags & 0x80),
    "alternate-signature": ({"alternate-signature": "on"}, lambda option: option.private_key_flags & 0x40),
    "legacy-provider": ({"legacy-provider": "on"}, lambda option: option.private_key_flags & 0x100),
    "attestation-trust": ({"attestation-trust": ["hardware-key"]}, lambda option: option.private_key_flags & 0x800),
    "attestation-policies": ({"attestation-policies": []}, lambda option: option.private_key_flags & 0x4000),
    "minimum-ca": ({"minimum-ca": "2016"}, lambda option: option.private_key_flags & 0xF0000 == 0x60000),
    "minimum-client": ({"minimum-client": "2016"}, lambda option: option.private_key_flags & 0xF000000 == 0x6000000),
    "names-from-old-certificate": ({"names-from-old-certificate": "on"}, lambda option: option.name_flags & 0x8),
}
"""Fields that clients go by: what they read of the template afterwards, on the page of /certsrv that lists it."""


@pytest.mark.parametrize("field", CLIENTS)
def test_a_field_reaches_the_clients(
    installation: Installation, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    changes, seen = CLIENTS[field]
    administration = installation.directory_administration
    assert not seen(TemplateOption.from_template(administration.template(NAME)))
    change(changes)
    assert seen(TemplateOption.from_template(administration.template(NAME)))


ELSEWHERE: Final = {
    "hash-algorithm": "in msPKI-RA-Application-Policies for clients of the directory: test_template_settings",
    "superseded-templates": "in msPKI-Supersede-Templates for clients of the directory: test_template_editor",
    "signature-application-policies": "unit/ca/policy, with signatures",
    "signature-issuance-policies": "unit/ca/policy, with signatures",
    "application-policies": "unit/ca/issuance",
    "path-length": "unit/ca/issuance, of CAs only",
}


def test_every_field_is_seen_to_do_something() -> None:
    every = {field.key for tab in TABS.values() for field in tab.fields}
    seen = {*REFUSED, *CHANGED, *CLIENTS, *ELSEWHERE, "machine", "approval"}
    assert every <= seen
