"""CEP and CES through a running server: what clients of a domain, of the road and without an account get there.

[MS-XCEP], [MS-WSTEP]; key-based renewal [MS-WCCE] 3.2.2.6.2.1.2.4. Every answer is held against the schemas.
"""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import HResult
from certwright.adcs.events import AuditEvent
from certwright.adcs.interfaces import CertAdmin
from certwright.adcs.roles import RevocationReason
from certwright.pki.certificate import CertificateView
from certwright.pki.cmc import CmcStatus, PkiResponse
from certwright.pki.signed_data import SignedData
from certwright.server.composition import Installation
from certwright.server.home import Home
from certwright.wire import soap
from certwright.wire.wstep import RequestSecurityToken, RequestType, TokenResponse
from certwright.wire.xcep import ClientAuthentication, GetPolicies, PolicyResponse
from tests.support import requests as make
from tests.support.doors import Local
from tests.support.installation import ISSUING, Mold, People
from tests.support.messages import by_certificate, by_new_key, in_cmc, in_cms, renewing
from tests.support.requests import PrivateKey, ec_key, web_server_request
from tests.support.server import DOMAIN, RunningServer
from tests.support.web_services import (
    CEP,
    CERTIFICATE,
    CES,
    HEADERS,
    KEY_BASED_CEP,
    NEGOTIATE,
    USER_NAME,
    WORKGROUP,
    Client,
    Identity,
    Refusal,
    identity_of,
    offer_renewal_by_key,
    with_certificate_port,
)

OLD, NEW, FORGER = (ec_key("P-256", number) for number in (31, 32, 33))
_hosts = (f"machine{number}.{DOMAIN}" for number in itertools.count(1))


@dataclass
class Place:
    """A running server, and the same home opened beside it."""

    server: RunningServer
    installation: Installation
    folder: Path

    def client(self, how: str, account: str = People.ENROLLEE, identity: Identity | None = None) -> Client:
        return Client(self.server, how, account, identity=identity, folder=self.folder)

    @property
    def officer(self) -> CertAdmin:
        return Local(self.installation).administer(People.OFFICER)


@pytest.fixture(scope="module")
def place(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[Place]:
    home = with_certificate_port(mold.copy(new_folder()))
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port)
    with Installation.open(home) as installation:
        installation.start_issuers()
        offer_renewal_by_key(installation)
        Local(installation).administer(People.CA_ADMINISTRATOR).set_configuration({"renewal-on-behalf": "on"})
        yield Place(server.start(), installation, new_folder())
    assert server.stop() == 0
    assert "Traceback" not in "".join(server.log)


def issued(answer: TokenResponse | Refusal) -> TokenResponse:
    assert isinstance(answer, TokenResponse), answer
    assert answer.certificate
    return answer


def refused(answer: object) -> Refusal:
    assert isinstance(answer, Refusal), answer
    return answer


def status_of(answer: object) -> int:
    found = refused(answer)
    assert found.detail is not None, found
    assert f"0x{int(found.detail.status):08x}" in found.reason
    return int(found.detail.status)


# -- CEP -------------------------------------------------------------------------------------------------------------


def policies(client: Client, request: GetPolicies | None = None, path: str = CEP) -> PolicyResponse:
    answer = client.policies(request, path)
    assert isinstance(answer, PolicyResponse), answer
    return answer


def test_a_caller_is_told_of_the_templates_it_may_enroll_for(place: Place) -> None:
    """And of the CA with every address at which somebody can log on, the preferred one first."""
    with closing(place.client(USER_NAME)) as wanda, closing(place.client(USER_NAME, People.PLAIN)) as alice:
        hers, his = policies(wanda), policies(alice)
    names = {policy.common_name for policy in hers.policies}

    assert {"WebServer", WORKGROUP, "User"} <= names
    assert {policy.common_name for policy in his.policies} <= names - {"WebServer", WORKGROUP}
    assert all(policy.enroll or policy.auto_enroll for policy in hers.policies)
    (ca,) = hers.cas
    assert ca.enroll_permission
    assert CertificateView.parse(ca.certificate).common_name == ISSUING
    port = Home.open(place.server.home).settings.certificate_port
    assert [(uri.authentication, uri.uri) for uri in ca.uris] == [
        (ClientAuthentication.CERTIFICATE, f"https://localhost:{port}{CES.format(CERTIFICATE)}"),
        (ClientAuthentication.USER_NAME, f"{place.server.https}{CES.format(USER_NAME)}"),
    ]


def test_ntlm_is_off_unless_somebody_switches_it_on(place: Place) -> None:
    with closing(place.client(NEGOTIATE)) as client:
        answer = refused(client.policies())

    assert answer.status == 403
    assert "no Kerberos" in answer.reason


def test_every_way_to_log_on_sees_the_same_under_the_same_id(place: Place) -> None:
    wanda = identity_of(place.installation, People.ENROLLEE, make.rsa_key(2048, 8))
    with closing(place.client(USER_NAME)) as one, closing(place.client(CERTIFICATE, identity=wanda)) as other:
        assert policies(one) == policies(other)


def test_key_based_renewal_lists_its_templates_alone_under_the_same_id(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        everything, by_key = policies(client), policies(client, path=KEY_BASED_CEP)

    assert [policy.common_name for policy in by_key.policies] == [WORKGROUP]
    assert by_key.policy_id == everything.policy_id


def test_addresses_are_taken_in_any_case_and_with_a_slash_at_the_end(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        assert policies(client, path=CEP.lower().replace("{}", "usernamepassword") + "/").policies
        query = RequestSecurityToken(RequestType.QUERY, request_id=4_000_000_000)
        assert status_of(client.token(query, CES.upper().replace("{}", USER_NAME) + "/"))


# -- issue, pending, denied ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [USER_NAME, CERTIFICATE])
def test_a_certificate_comes_with_the_full_response(place: Place, how: str) -> None:
    identity = identity_of(place.installation, People.ENROLLEE, make.rsa_key(2048, 8)) if how == CERTIFICATE else None
    with closing(place.client(how, identity=identity)) as client:
        answer = issued(client.enroll(web_server_request(next(_hosts)), ("CertificateTemplate", "WebServer")))

    message = SignedData.parse(answer.full_response)
    assert PkiResponse.parse(message.content or b"").status is CmcStatus.SUCCESS
    assert answer.certificate in message.certificates
    assert answer.message == "Issued"
    assert answer.request_id is not None


def test_a_pending_request_is_polled_at_the_address_it_names(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        waiting = client.enroll(web_server_request("www.elsewhere.example"), ("CertificateTemplate", "WebServer"))
        assert isinstance(waiting, TokenResponse)
        assert waiting.reference == f"{place.server.https}{CES.format(USER_NAME)}"
        assert waiting.message.startswith("Taken Under Submission")
        assert waiting.request_id is not None
        still = client.query(waiting.request_id, waiting.reference)
        place.officer.resubmit(waiting.request_id)
        done = issued(client.query(waiting.request_id, waiting.reference))
        again = issued(client.query(waiting.request_id, waiting.reference))

    assert isinstance(still, TokenResponse)
    assert still.certificate == b""
    assert done.message.startswith("Issued")
    assert again.certificate == done.certificate


def test_a_denial_by_a_manager_is_told_to_whoever_asks_again(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        waiting = client.enroll(web_server_request("www.elsewhere.example"), ("CertificateTemplate", "WebServer"))
        assert isinstance(waiting, TokenResponse)
        assert waiting.request_id is not None
        place.officer.deny(waiting.request_id, "not ours")
        answer = refused(client.query(waiting.request_id))

    assert "not ours" in answer.reason
    assert status_of(answer) == HResult.CERTSRV_E_ADMIN_DENIED_REQUEST
    assert answer.detail is not None
    assert answer.detail.invalid_request
    assert answer.detail.request_id == waiting.request_id
    content = SignedData.parse(answer.detail.full_response).content or b""
    assert PkiResponse.parse(content).status is CmcStatus.FAILED


def test_somebody_elses_request_looks_like_an_unknown_one(place: Place) -> None:
    with closing(place.client(USER_NAME)) as wanda, closing(place.client(USER_NAME, People.PLAIN)) as alice:
        hers = issued(wanda.enroll(web_server_request(next(_hosts)), ("CertificateTemplate", "WebServer")))
        assert hers.request_id is not None
        others, unknown = refused(alice.query(hers.request_id)), refused(alice.query(1_999_999_999))

    assert (others.reason, others.detail) == (unknown.reason, unknown.detail)
    assert status_of(others) == HResult.CERTSRV_E_PROPERTY_EMPTY
    assert others.detail is not None
    assert not others.detail.invalid_request


def test_a_revoked_certificate_is_not_handed_out_again(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        answer = issued(client.enroll(web_server_request(next(_hosts)), ("CertificateTemplate", "WebServer")))
        assert answer.request_id is not None
        serial = CertificateView.parse(answer.certificate).serial_number
        place.officer.revoke(serial, RevocationReason.SUPERSEDED)
        assert status_of(client.query(answer.request_id)) == HResult.CRYPT_E_REVOKED


def test_what_nobody_can_read_is_recorded_and_no_denial(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        answer = refused(client.enroll(b"\x30\x03\x02\x01\x01"))

    assert status_of(answer) == HResult.CRYPT_E_ASN1_BADTAG
    assert answer.detail is not None
    assert not answer.detail.invalid_request
    assert answer.detail.request_id is not None


def test_there_is_no_key_exchange_certificate(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        assert status_of(client.token(RequestSecurityToken(RequestType.KET))) == HResult.ERROR_NOT_SUPPORTED


def test_the_template_is_found_where_clients_write_it(place: Place) -> None:
    """Extension 20.2 with a version 2 template, as certmonger sends it; registration information of CMC."""
    with closing(place.client(USER_NAME)) as client:
        named = web_server_request(next(_hosts), key=NEW, extensions=[make.template_name_extension(WORKGROUP)])
        by_extension = issued(client.enroll(named))
        raw = in_cmc(
            web_server_request(next(_hosts), key=NEW),
            signings=(by_new_key(NEW),),
            pairs=(("CertificateTemplate", WORKGROUP),),
        )
        by_information = issued(client.enroll(raw))

    for answer in (by_extension, by_information):
        template = CertificateView.parse(answer.certificate).template
        assert template is not None
        assert template.oid == place.installation.directory.templates()[WORKGROUP].oid


def test_names_in_the_context_are_never_honoured(place: Place) -> None:
    """ESC6: the SAN of an attribute is dropped, and the log says so."""
    host = next(_hosts)
    with closing(place.client(USER_NAME)) as client:
        answer = issued(
            client.enroll(
                web_server_request(host),
                ("CertificateTemplate", "WebServer"),
                ("SAN", f"upn=administrator@{DOMAIN}"),
                ("rmd", host),
            )
        )
    assert answer.request_id is not None
    row = place.officer.request_row(answer.request_id)

    assert [str(name) for name in CertificateView.parse(answer.certificate).alternative_names] == [f"DNS:{host}"]
    assert "administrator" not in str(row["record"])
    assert place.server.awaited_events(
        lambda event: event["event"] == "context_dropped" and event["names"] == ["SAN"]
    )


def test_names_in_registration_information_are_never_honoured(place: Place) -> None:
    """ESC6 by CMC: nothing but the PKCS#10 and the template says for whom a certificate is."""
    host = next(_hosts)
    raw = in_cmc(
        web_server_request(host, key=NEW),
        signings=(by_new_key(NEW),),
        pairs=(("CertificateTemplate", "WebServer"), ("SAN", f"upn=administrator@{DOMAIN}")),
    )
    with closing(place.client(USER_NAME)) as client:
        answer = issued(client.enroll(raw))

    assert [str(name) for name in CertificateView.parse(answer.certificate).alternative_names] == [f"DNS:{host}"]


@pytest.mark.parametrize("form", ["CMS", "CMC"])
def test_a_signature_over_another_request_is_none(place: Place, form: str) -> None:
    """The signed request is exchanged for one of the same length: nothing but the signature tells."""
    signed, wanted = f"ours-0001.{DOMAIN}", f"ours-0002.{DOMAIN}"
    request = web_server_request(signed, key=OLD)
    old = identity_of(place.installation, People.ENROLLEE, make.rsa_key(2048, 8))
    signing = by_certificate(old.key, old.certificate)
    if form == "CMS":
        raw = in_cms(request, signing, certificates=(old.certificate,))
    else:
        raw = in_cmc(request, signings=(by_new_key(OLD), signing), certificates=(old.certificate,))
    forged = raw.replace(signed.encode(), wanted.encode())
    assert forged != raw
    with closing(place.client(USER_NAME)) as client:
        answer = client.enroll(forged, ("CertificateTemplate", "WebServer"))

    assert status_of(answer) == HResult.NTE_BAD_SIGNATURE


# -- logging on ------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_one_fault_for_every_reason(place: Place) -> None:
    answers = []
    for account, password in ((People.OTHER, "wrong"), ("nobody-here", "wrong")):
        with closing(Client(place.server, USER_NAME, account, password)) as client:
            answers.append(refused(client.policies()))

    assert len({(answer.status, answer.code, answer.reason) for answer in answers}) == 1
    assert answers[0].code == "Sender"
    assert b"o:FailedAuthentication" in answers[0].envelope


def test_a_password_is_checked_once_for_a_connection(place: Place) -> None:
    before = len(place.server.events())
    with closing(place.client(USER_NAME, People.AUDITOR)) as client:
        for _ in range(3):
            policies(client)
    found = place.server.awaited_events(lambda event: event["event"] == "logon_accepted", before)

    assert [event["account"] for event in found] == [rf"CORP\{People.AUDITOR}"]


def test_credentials_of_a_message_do_not_count_at_the_kerberos_address(place: Place) -> None:
    token = soap.UserNameToken(rf"CORP\{People.ENROLLEE}", "correct horse battery staple")
    with closing(place.client(USER_NAME)) as client:
        body, _ = soap.request("urn:x", "https://localhost/", GetPolicies().encode(), token=token)
        status, _ = client.post(CEP.format(NEGOTIATE), body)

    assert status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_probe_is_not_asked_for_credentials(place: Place, method: str) -> None:
    with closing(place.client(USER_NAME)) as client:
        client.connection.request(method, CEP.format(USER_NAME))
        answer = client.connection.getresponse()
        answer.read()

    assert (answer.status, answer.getheader("WWW-Authenticate")) == (405, None)


def test_the_listener_for_certificates_takes_nobody_without_one(place: Place) -> None:
    port = Home.open(place.server.home).settings.certificate_port
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=place.server.tls_context())

    def get() -> None:
        connection.request("GET", "/")
        connection.getresponse()

    with closing(connection), pytest.raises((ssl.SSLError, ConnectionError)):
        get()


def test_the_certificate_address_of_the_other_listener_says_where_to_go(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        status, text = client.post(CEP.format(CERTIFICATE), b"<x/>")

    assert status == 403
    assert b"certificate-port" in text


def test_a_root_above_the_issuing_ca_is_not_served(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        status, _ = client.post(CES.format(USER_NAME).replace("Issuing", "Root"), b"<x/>")

    assert status == 404


def test_health_looks_at_that_listener_too(place: Place) -> None:
    with urllib.request.urlopen(f"{place.server.http}/healthz") as answer:
        assert json.load(answer)["listeners"] == {"https": True, "http": True, "certificate": True}


def test_that_listener_has_nothing_else(place: Place) -> None:
    identity = identity_of(place.installation, People.ENROLLEE, make.rsa_key(2048, 8))
    with closing(place.client(CERTIFICATE, identity=identity)) as client:
        client.connection.request("GET", "/certsrv/")
        answer = client.connection.getresponse()
        answer.read()

    assert answer.status == 404


def test_a_revoked_certificate_logs_nobody_on(place: Place) -> None:
    identity = identity_of(place.installation, People.PLAIN, make.rsa_key(2048, 9))
    place.officer.revoke(CertificateView.parse(identity.certificate).serial_number, RevocationReason.KEY_COMPROMISE)
    with closing(place.client(CERTIFICATE, identity=identity)) as client:
        assert refused(client.policies()).status == 403


# -- renewal ---------------------------------------------------------------------------------------------------------


def machine(place: Place, key: PrivateKey = OLD) -> tuple[str, Identity]:
    """A machine's first certificate, had with somebody's user name and password."""
    host = next(_hosts)
    with closing(place.client(USER_NAME)) as client:
        answer = client.enroll(web_server_request(host, key=key), ("CertificateTemplate", WORKGROUP))
    return host, Identity(issued(answer).certificate, key)


def renewal(
    host: str, old: Identity, *, signer: Identity | None = None, names: bytes | None = None, key: PrivateKey = NEW
) -> bytes:
    signer = signer or old
    request = names or web_server_request(
        host, key=key, attributes=[renewing(old.certificate)], extensions=[make.template_name_extension(WORKGROUP)]
    )
    return in_cms(request, by_certificate(signer.key, signer.certificate), certificates=(signer.certificate,))


def test_a_machine_renews_with_nothing_but_its_old_certificate(place: Place) -> None:
    """The trail says which certificate took the place of which."""
    host, old = machine(place)
    with closing(place.client(CERTIFICATE, identity=old)) as client:
        offered = policies(client, path=KEY_BASED_CEP)
        answer = issued(client.enroll(renewal(host, old)))

    assert [policy.common_name for policy in offered.policies] == [WORKGROUP]
    before, after = CertificateView.parse(old.certificate), CertificateView.parse(answer.certificate)
    assert (after.subject, after.alternative_names) == (before.subject, before.alternative_names)
    assert after.public_key_info == make.spki(NEW)
    assert answer.request_id is not None
    record = place.officer.request_row(answer.request_id)["record"]
    assert record.requester_name == rf"CORP\{People.ENROLLEE}"  # type: ignore[attr-defined]
    (event,) = place.installation.audit.events(request_id=answer.request_id, event=AuditEvent.CERTIFICATE_ISSUED)
    assert event.details["renewed_serial_number"] == before.serial_number
    assert event.details["serial_number"] == after.serial_number


def test_the_same_key_may_be_certified_again(place: Place) -> None:
    host, old = machine(place)
    with closing(place.client(CERTIFICATE, identity=old)) as client:
        answer = issued(client.enroll(renewal(host, old, key=OLD)))

    assert CertificateView.parse(answer.certificate).public_key_info == make.spki(OLD)


def test_a_holder_gets_nothing_but_its_renewal(place: Place) -> None:
    """No new request, no other names, no renewal of somebody else's certificate, no requests of the account."""
    host, old = machine(place)
    other_host, other = machine(place, FORGER)
    wider = web_server_request(host, f"more.{DOMAIN}", key=NEW, attributes=[renewing(old.certificate)],
                               extensions=[make.template_name_extension(WORKGROUP)])  # fmt: skip
    with closing(place.client(USER_NAME)) as wanda:
        hers = issued(wanda.enroll(web_server_request(next(_hosts)), ("CertificateTemplate", "WebServer")))
    assert hers.request_id is not None
    with closing(place.client(CERTIFICATE, identity=old)) as client:
        new = client.enroll(web_server_request(host), ("CertificateTemplate", WORKGROUP))
        widened = client.enroll(renewal(host, old, names=wider))
        others = client.enroll(renewal(other_host, other))
        queried = client.query(hers.request_id)
        listed = policies(client)

    assert status_of(new) == HResult.CERTSRV_E_ENROLL_DENIED
    assert status_of(widened) == HResult.CERTSRV_E_BAD_RENEWAL_SUBJECT
    assert status_of(others) == HResult.CERTSRV_E_ENROLL_DENIED
    assert status_of(queried) == HResult.CERTSRV_E_PROPERTY_EMPTY
    assert listed.policies == ()


def forged(like: Identity) -> Identity:
    """Serial number, names and extensions of a certificate of ours, signed by nobody we know."""
    parsed = x509.load_der_x509_certificate(like.certificate)
    builder = x509.CertificateBuilder(
        parsed.issuer, parsed.subject, FORGER.public_key(), parsed.serial_number,
        parsed.not_valid_before_utc, parsed.not_valid_after_utc, list(parsed.extensions),
    )  # fmt: skip
    return Identity(builder.sign(FORGER, hashes.SHA256()).public_bytes(Encoding.DER), FORGER)


def test_forged_foreign_and_revoked_certificates_renew_nothing_for_their_account_either(place: Place) -> None:
    host, old = machine(place)
    look_alike = forged(old)
    with closing(place.client(USER_NAME)) as client:
        by_forger = client.enroll(renewal(host, look_alike))
        by_other_key = client.enroll(renewal(host, old, signer=look_alike))
        place.officer.revoke(CertificateView.parse(old.certificate).serial_number, RevocationReason.SUPERSEDED)
        revoked = client.enroll(renewal(host, old))

    assert status_of(by_forger) == HResult.CERT_E_UNTRUSTEDROOT
    assert status_of(by_other_key) == HResult.CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE
    assert status_of(revoked) == HResult.CRYPT_E_REVOKED


def test_a_forged_certificate_does_not_even_open_a_connection(place: Place) -> None:
    _, old = machine(place)
    client = place.client(CERTIFICATE, identity=forged(old))
    with pytest.raises((ssl.SSLError, ConnectionError)), closing(client):
        client.policies()


# -- what no client sends --------------------------------------------------------------------------------------------


def test_a_body_of_a_hundred_megabytes_is_refused_by_its_length(place: Place) -> None:
    with closing(place.client(USER_NAME)) as client:
        client.connection.putrequest("POST", CES.format(USER_NAME))
        client.connection.putheader("Content-Type", HEADERS["Content-Type"])
        client.connection.putheader("Content-Length", str(100 << 20))
        client.connection.endheaders(b"<s:Envelope")
        answer = client.connection.getresponse()
        answer.read()

    assert answer.status == 413
    assert answer.getheader("Connection") == "close"
