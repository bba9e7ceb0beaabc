"""CMC full responses of our own CA: for issued, pending and denied requests. [MS-WCCE] 3.2.1.4.2.1.4.8.2."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from certwright.adcs.request import RequestFlags, Response, template_attributes
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.cmc import CmcStatus, PkiResponse
from certwright.pki.public_keys import load_public_key
from certwright.pki.signed_data import SignedData
from tests.support import programs
from tests.support import requests as make
from tests.support.doors import OUTSIDE, Site, new_host
from tests.support.installation import People
from tests.support.messages import by_new_key, in_cmc
from tests.support.requests import web_server_request

FULL = RequestFlags.FULL_RESPONSE
KEY = make.ec_key("P-256", 21)


def submit(site: Site, raw: bytes, flags: RequestFlags = FULL, template: str = "WebServer") -> Response:
    return site.door.connect(People.ENROLLEE).submit(raw, template_attributes(template), flags)


def read(response: Response) -> tuple[PkiResponse, SignedData]:
    """What the full response says; its signature is the CA's."""
    assert response.full_response is not None
    message = SignedData.parse(response.full_response)
    certificate = message.certificate_of(message.signers[0])
    assert certificate is not None
    assert certificate.common_name == "CORP Issuing CA"
    message.verify(message.signers[0], load_public_key(certificate.public_key_info))
    assert message.content_type == oids.CMC_PKI_RESPONSE
    return PkiResponse.parse(message.content or b""), message


def test_an_issued_certificate_comes_with_its_chain_and_its_hash(site: Site, tmp_path: Path) -> None:
    issued = submit(site, web_server_request(new_host()))
    content, message = read(issued)

    assert issued.certificate is not None
    assert (content.status, content.text, content.body_parts) == (CmcStatus.SUCCESS, "Issued", (1,))
    assert content.certificate_hash == hashlib.sha1(issued.certificate, usedforsecurity=False).digest()
    names = [CertificateView.parse(each).common_name for each in message.certificates]
    assert message.certificates[0] == issued.certificate
    assert names[1:] == ["CORP Issuing CA", "CORP Root CA"]
    made = tmp_path / "response.der"
    made.write_bytes(issued.full_response or b"")
    said = programs.openssl("cms", "-verify", "-inform", "DER", "-in", made, "-noverify", "-out", tmp_path / "out")
    assert "Verification successful" in said


def test_a_pending_request_gets_a_token(site: Site) -> None:
    waiting = submit(site, web_server_request(OUTSIDE))
    content, message = read(waiting)

    assert content.status is CmcStatus.PENDING
    assert content.text.startswith("Taken Under Submission")
    assert int.from_bytes(content.pend_token, "little") == waiting.request_id
    assert len(message.certificates) == 2


def test_a_denial_says_why(site: Site) -> None:
    denied = submit(site, web_server_request(new_host()), template="NoSuchTemplate")
    content, _ = read(denied)

    assert content.status is CmcStatus.FAILED
    assert content.text == denied.message
    assert content.certificate_hash == b""


def test_the_answer_has_the_requests_own_number(site: Site) -> None:
    raw = in_cmc(web_server_request(new_host(), key=KEY), signings=(by_new_key(KEY),), body_part=42)
    assert read(submit(site, raw))[0].body_parts == (42,)


def test_crls_come_along_when_asked_for(site: Site) -> None:
    """CR_IN_CRLS."""
    without, with_crls = (
        submit(site, web_server_request(new_host()), FULL | more) for more in (0, RequestFlags.CRLS)
    )

    assert read(without)[1].crls == ()
    assert len(read(with_crls)[1].crls) == 1


def test_nobody_gets_one_unasked(site: Site) -> None:
    assert submit(site, web_server_request(new_host()), RequestFlags.DETECT).full_response is None


@pytest.mark.parametrize("decide", ["issue", "deny"])
def test_a_retrieval_answers_in_full_too(site: Site, decide: str) -> None:
    waiting = submit(site, web_server_request(OUTSIDE))
    admin = site.door.administer(People.OFFICER)
    if decide == "issue":
        admin.resubmit(waiting.request_id)
    else:
        admin.deny(waiting.request_id)

    content, _ = read(site.door.connect(People.ENROLLEE).retrieve(waiting.request_id, flags=FULL))

    assert content.status is (CmcStatus.SUCCESS if decide == "issue" else CmcStatus.FAILED)
