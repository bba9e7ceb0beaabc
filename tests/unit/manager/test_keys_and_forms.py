"""Keys and requests made here, their export, and request forms."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from certwright.adcs.errors import BadRequestState, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.keystores.base import KeyAlgorithm
from certwright.manager.keys import make_request, subject_and_names
from certwright.manager.values import AlternativeName, FormFields, KeyFields, NameKind
from certwright.pki.certificate import CertificateView
from certwright.pki.oids import USER_PRINCIPAL_NAME
from tests.support.managing import ALICE, Managed
from tests.support.programs import openssl
from tests.support.requests import ec_key

EXPORT = "an export password"


def spki(key: object) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("algorithm", "size"),
    [
        (KeyAlgorithm.RSA_2048, 2048),
        (KeyAlgorithm.RSA_3072, 3072),
        (KeyAlgorithm.ECDSA_P256, 256),
        (KeyAlgorithm.ECDSA_P384, 384),
    ],
)
def test_a_request_is_what_was_asked_for_and_openssl_agrees(
    desk: Managed, tmp_path: Path, algorithm: KeyAlgorithm, size: int
) -> None:
    made = desk.manager.keys.make(KeyFields(algorithm, "CN=web.corp.example,O=Corp", ()))
    request = x509.load_der_x509_csr(made.csr)
    assert request.is_signature_valid
    key = request.public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    assert key.key_size == size
    path = tmp_path / "request.der"
    path.write_bytes(made.csr)
    shown = openssl("req", "-inform", "DER", "-in", path, "-noout", "-verify", "-subject")
    assert "web.corp.example" in shown


def test_every_kind_of_alternative_name_stands_in_the_request() -> None:
    """RFC 5280 4.2.1.6; critical without a subject."""
    wanted = ("DNS:Web.Corp.Example", "IP:10.0.0.1", "IP:2001:db8::1", "mail:a@b.example", "UPN:ada@corp.example")
    names = (*map(AlternativeName.parse, wanted), AlternativeName.parse("URI:https://web.corp.example/x"))
    request = x509.load_der_x509_csr(make_request(ec_key(), KeyFields(names=names)))
    found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert found.critical
    assert found.value.get_values_for_type(x509.DNSName) == ["web.corp.example"]
    assert [str(each) for each in found.value.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "2001:db8::1"]
    assert found.value.get_values_for_type(x509.RFC822Name) == ["a@b.example"]
    assert found.value.get_values_for_type(x509.UniformResourceIdentifier) == ["https://web.corp.example/x"]
    [upn] = found.value.get_values_for_type(x509.OtherName)
    assert upn.type_id.dotted_string == USER_PRINCIPAL_NAME
    assert upn.value == b"\x0c\x10ada@corp.example"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("web.corp.example", NameKind.DNS),
        ("10.0.0.1", NameKind.IP),
        ("2001:db8::1", NameKind.IP),
        ("a@b.example", NameKind.EMAIL),
        ("https://x.example/", NameKind.URI),
        ("upn:a@b.example", NameKind.UPN),
    ],
)
def test_a_name_without_a_kind_is_what_it_looks_like(text: str, kind: NameKind) -> None:
    assert AlternativeName.parse(text).kind is kind


@pytest.mark.parametrize(
    "fields",
    [
        KeyFields(),
        KeyFields(subject="nonsense"),
        KeyFields(subject=f"CN={'x' * 65}"),
        KeyFields(subject="C=Germany"),
        KeyFields(names=(AlternativeName(NameKind.DNS, "not a name"),)),
        KeyFields(names=(AlternativeName(NameKind.IP, "300.0.0.1"),)),
        KeyFields(names=(AlternativeName(NameKind.EMAIL, "nobody"),)),
        KeyFields(names=(AlternativeName(NameKind.UPN, "@corp"),)),
        KeyFields(names=(AlternativeName(NameKind.URI, "no uri"),)),
        KeyFields(names=tuple(AlternativeName(NameKind.DNS, f"w{n}.example.com") for n in range(501))),
    ],
)
def test_what_cannot_stand_in_a_request_is_refused(fields: KeyFields) -> None:
    with pytest.raises(InvalidArgument):
        subject_and_names(fields)


def test_a_key_lies_sealed_in_the_database(desk: Managed, tmp_path: Path) -> None:
    desk.service()
    order = desk.order("web.corp.example")
    assert order.certificate_id is not None
    key = desk.manager.keys.private_key(desk.manager.inventory.get(order.certificate_id).row.spki_sha256)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    desk.database.close()
    assert all(secret not in path.read_bytes() for path in tmp_path.glob("certwright.db*"))


def test_the_key_leaves_as_encrypted_pem_with_certificate_and_chain(desk: Managed) -> None:
    _, ca = desk.service()
    order = desk.order("web.corp.example")
    assert order.certificate_id is not None
    pem = desk.manager.keys.export_pem(order.certificate_id, EXPORT, reason="new host", actor=ALICE)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in pem
    assert b"BEGIN PRIVATE KEY" not in pem
    key = load_pem_private_key(pem, EXPORT.encode())
    leaf, above = x509.load_pem_x509_certificates(pem)
    assert spki(key) == leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert above.public_bytes(Encoding.DER) == ca.certificate
    [event] = desk.events(AuditEvent.PRIVATE_KEY_EXPORTED)
    assert (event.actor, event.details["reason"], event.details["format"]) == (ALICE, "new host", "PEM")
    assert desk.manager.inventory.get(order.certificate_id).history[0].text == "Private key exported as PEM."


@pytest.mark.parametrize("for_old_windows", [False, True])
def test_the_key_leaves_as_pfx_that_openssl_opens(desk: Managed, tmp_path: Path, for_old_windows: bool) -> None:
    desk.service()
    order = desk.order("web.corp.example")
    assert order.certificate_id is not None
    pfx = desk.manager.keys.export_pfx(order.certificate_id, EXPORT, for_old_windows=for_old_windows, actor=ALICE)
    loaded = load_pkcs12(pfx, EXPORT.encode())
    assert loaded.cert is not None
    assert loaded.cert.friendly_name == b"web.corp.example"
    assert len(loaded.additional_certs) == 1
    path = tmp_path / "web.pfx"
    path.write_bytes(pfx)
    shown = openssl("pkcs12", "-in", path, "-passin", f"pass:{EXPORT}", "-info", "-noout")
    assert ("3DES" in shown.upper() or "3-KEYTRIPLEDES" in shown.upper()) == for_old_windows


def test_a_short_password_protects_no_key_and_nothing_is_audited(desk: Managed) -> None:
    desk.service()
    order = desk.order("web.corp.example")
    assert order.certificate_id is not None
    with pytest.raises(InvalidArgument, match="12 to 200"):
        desk.manager.keys.export_pfx(order.certificate_id, "short", actor=ALICE)
    assert desk.events(AuditEvent.PRIVATE_KEY_EXPORTED) == []


def test_a_key_that_is_not_here_does_not_leave(desk: Managed) -> None:
    _, ca = desk.service()
    desk.order("web.corp.example")
    number = desk.manager.inventory.find(CertificateView.parse(ca.certificate).sha256)
    assert number is not None
    with pytest.raises(InvalidArgument, match="not kept here"):
        desk.manager.keys.export_pfx(number, EXPORT, actor=ALICE)


def test_the_last_certificate_of_a_key_takes_it_along_only_when_confirmed(desk: Managed) -> None:
    desk.service()
    order = desk.order("web.corp.example")
    assert order.certificate_id is not None
    spki_sha256 = desk.manager.inventory.get(order.certificate_id).row.spki_sha256
    refused = desk.manager.inventory.delete([order.certificate_id], actor=ALICE)
    assert "exists only here" in refused.refused[order.certificate_id]
    assert desk.manager.inventory.delete([order.certificate_id], with_key=True, actor=ALICE).done
    assert not desk.manager.keys.holds(spki_sha256)
    assert len(desk.events(AuditEvent.PRIVATE_KEY_DELETED)) == 1


# -- forms ---------------------------------------------------------------------------------------------------------

FORM = FormFields(
    "Web servers",
    "CORP",
    "WebServer",
    KeyAlgorithm.ECDSA_P256,
    "O=Corp\\, Inc.,C=DE",
    (AlternativeName.parse("DNS:common.corp.example"),),
    tags=("web",),
)


def test_a_form_asks_only_for_the_common_name_and_the_names(desk: Managed) -> None:
    desk.service()
    form = desk.manager.forms.add(FORM, actor=ALICE)
    fields = desk.manager.forms.order(form.id, "web, one", [AlternativeName.parse("DNS:web1.corp.example")])
    order = desk.manager.orders.place(fields, actor=ALICE)
    assert order.subject == "CN=web\\, one,O=Corp\\, Inc.,C=DE"
    assert order.names == "DNS:web1.corp.example, DNS:common.corp.example"
    assert order.tags == ("web",)
    after = desk.manager.forms.get(form.id)
    assert (after.used, after.last_used, after.fields) == (1, desk.now, FORM)


def test_forms_are_edited_duplicated_and_deleted(desk: Managed) -> None:
    form = desk.manager.forms.add(FORM, actor=ALICE)
    with pytest.raises(InvalidArgument, match="already"):
        desk.manager.forms.duplicate(form.id, "WEB servers", actor=ALICE)
    copy = desk.manager.forms.duplicate(form.id, "Other servers", actor=ALICE)
    desk.manager.forms.delete(form.id, actor=ALICE)
    assert [each.id for each in desk.manager.forms.list()] == [copy.id]
    assert len(desk.events(AuditEvent.REQUEST_FORM_CHANGED)) == 3


def test_a_form_that_could_never_be_used_is_refused(desk: Managed) -> None:
    with pytest.raises(InvalidArgument, match="subject"):
        desk.manager.forms.add(FormFields("x", "CORP", "WebServer", subject="nonsense"), actor=ALICE)


# -- renewing by hand ----------------------------------------------------------------------------------------------


def test_an_order_that_is_being_renewed_twice_is_refused(desk: Managed) -> None:
    desk.service()
    order = desk.order("web.corp.example")
    assert order.certificate_id is not None
    desk.manager.renewal.renew(order.certificate_id, actor=ALICE)
    with pytest.raises(BadRequestState, match="renewed already"):
        desk.manager.renewal.renew(order.certificate_id, actor=ALICE)
