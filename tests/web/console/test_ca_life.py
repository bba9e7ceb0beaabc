"""The life of a CA in the console and for programs: made, signed by another by file, renewed, suspended, given up.

Every act is checked inside the CA; those on keys ask again who it is. Each test makes CAs of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import AccessDenied
from certwright.adcs.properties import CaType
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import armor
from certwright.server.ca_life import OurCas
from certwright.server.composition import Installation
from tests.support.api import Caller, refused, said, token
from tests.support.installation import ISSUING, ROOT, People
from tests.support.requests import ec_key
from tests.web.console.conftest import Browser, text_of

SignIn = Callable[..., Browser]
P256 = KeyAlgorithm.ECDSA_P256.value
STANDALONE = str(int(CaType.STANDALONE_SUBORDINATE))
_numbers = count(1)


@pytest.fixture
def name() -> str:
    """Of a CA that no other test has."""
    return f"Test CA {next(_numbers)}"


@pytest.fixture
def administrator(sign_in: SignIn) -> Browser:
    browser = sign_in(People.CA_ADMINISTRATOR)
    browser.confirm()
    return browser


def made(browser: Browser, name: str, parent: str, kind: str = STANDALONE) -> Any:
    return browser.post("/cas/-/new/", {"name": name, "ca_type": kind, "parent": parent, "key": P256})


def file_of(text: str | bytes, called: str = "file.pem") -> BytesIO:
    file = BytesIO(text.encode() if isinstance(text, str) else text)
    file.name = called
    return file


def certificate_count(installation: Installation, name: str) -> int:
    return len(installation.ca(name).authority.database.ca().certificates)


# -- in the console --------------------------------------------------------------------------------------------------


def test_every_ca_is_listed_with_who_signed_it(sign_in: SignIn) -> None:
    page = text_of(sign_in(People.AUDITOR).get("/cas/"))

    assert ISSUING in page
    assert f"Enterprise subordinate CA {ROOT}" in page
    assert "Standalone root CA itself" in page
    assert "New CA" not in page, "an auditor only looks"


def test_a_ca_below_one_of_ours_is_made_and_served_at_once(
    administrator: Browser, installation: Installation, name: str
) -> None:
    answer = made(administrator, name, ROOT)

    assert answer["Location"] == quote(f"/cas/{name}/")
    assert "signed by " + ROOT in text_of(administrator.get(f"/cas/{name}/"))
    assert installation.ca(name).issuer.is_alive
    assert (installation.home.published / f"{name}.crl").exists()


def test_a_ca_s_request_goes_out_and_its_answer_comes_back(
    administrator: Browser, installation: Installation, name: str
) -> None:
    """Both sides in one console: the root's page signs what the other page gave out."""
    made(administrator, name, "-")
    page = text_of(administrator.get(f"/cas/{name}/"))
    assert "Its request waits for the CA that is to sign it." in page
    asked = administrator.get(f"/cas/{name}/request/")
    request = x509.load_pem_x509_csr(asked.content)
    assert request.subject.rfc4514_string().startswith(f"CN={name}")

    signed = administrator.post(
        f"/cas/{ROOT}/sign/", {"file": file_of(asked.content), "validity": "5 years", "path_length": "0"}
    )
    chain = x509.load_pem_x509_certificates(signed.content)
    assert chain[0].public_key() == request.public_key()
    answer = administrator.post(f"/cas/{name}/install/", {"file": file_of(signed.content)})

    assert answer["Location"] == quote(f"/cas/{name}/")
    assert certificate_count(installation, name) == 1
    assert "a CA elsewhere" in text_of(administrator.get(f"/cas/{name}/"))


def test_an_answer_for_another_key_is_refused_on_the_form(administrator: Browser, name: str) -> None:
    made(administrator, name, "-")
    chain = administrator.client.get("/api/v1/cas/CORP Root CA/certificate", secure=True).content

    refusal = administrator.post(f"/cas/{name}/install/", {"file": file_of(chain)})
    assert refusal.status_code == 422
    nonsense = administrator.post(f"/cas/{name}/install/", {"file": file_of("nothing")})
    assert nonsense.status_code == 422


def test_a_request_is_given_up_when_the_name_is_typed(administrator: Browser, name: str) -> None:
    made(administrator, name, "-")

    assert administrator.post(f"/cas/{name}/withdraw/", {"word": "something else"}).status_code == 422
    assert administrator.post(f"/cas/{name}/withdraw/", {"word": name})["Location"] == "/cas/"
    assert name not in text_of(administrator.get("/cas/"))


@pytest.mark.parametrize("key", ["", P256])
def test_a_ca_is_renewed_with_the_same_key_or_a_new_one(
    administrator: Browser, installation: Installation, name: str, key: str
) -> None:
    made(administrator, name, ROOT)

    wrong = administrator.post(f"/cas/{name}/renew/", {"word": "no", "key": key})
    assert wrong.status_code == 422
    answer = administrator.post(f"/cas/{name}/renew/", {"word": name, "key": key, "validity": "3 years"})
    assert answer["Location"] == quote(f"/cas/{name}/")
    newest = max(installation.ca(name).authority.database.ca().certificates, key=lambda each: each.index)
    assert (newest.index, newest.key_index) == (1, 1 if key else 0)


def test_what_cannot_be_renewed_says_so_in_the_dialog(administrator: Browser, name: str) -> None:
    made(administrator, name, ROOT)

    answer = administrator.post(f"/cas/{name}/renew/", {"word": name, "validity": "soon"})
    assert answer.status_code == 422
    assert "validity" in text_of(answer)


def test_a_suspended_ca_issues_nothing_until_it_is_resumed(
    administrator: Browser, installation: Installation, name: str
) -> None:
    made(administrator, name, ROOT)
    administrator.post(f"/cas/{name}/suspend/", {"word": name})
    assert installation.configuration(name).suspended
    assert "Suspended" in text_of(administrator.get(f"/cas/{name}/"))

    administrator.post(f"/cas/{name}/resume/")
    assert not installation.configuration(name).suspended


def test_the_crl_of_a_ca_that_is_not_above_ours_is_refused(
    administrator: Browser, installation: Installation
) -> None:
    crl = (installation.home.published / f"{ISSUING}.crl").read_bytes()

    answer = administrator.post("/cas/-/import-crl/", {"file": file_of(crl, "ca.crl")})
    assert answer.status_code == 422
    assert "only CRLs of CAs above ours" in text_of(answer)


def test_the_crl_of_the_ca_above_is_published(administrator: Browser, installation: Installation, name: str) -> None:
    """Signed by a CA that the certificates say is elsewhere; its CRL is brought here."""
    made(administrator, name, "-")
    request = administrator.get(f"/cas/{name}/request/").content
    signed = administrator.post(
        f"/cas/{ROOT}/sign/", {"file": file_of(request), "validity": "5 years", "path_length": "0"}
    )
    administrator.post(f"/cas/{name}/install/", {"file": file_of(signed.content)})
    file = installation.home.published / f"{ROOT}.crl"
    crl = file.read_bytes()
    file.unlink()

    assert administrator.post("/cas/-/import-crl/", {"file": file_of(crl, "root.crl")})["Location"] == "/cas/"
    assert file.read_bytes() == crl


def test_acts_on_keys_ask_again_who_it_is(sign_in: SignIn) -> None:
    browser = sign_in(People.CA_ADMINISTRATOR)
    for act in ("-/new", f"{ROOT}/renew", f"{ROOT}/suspend", f"{ROOT}/sign", f"{ROOT}/install", f"{ROOT}/withdraw"):
        assert browser.get(f"/cas/{act}/")["Location"].startswith("/sign-in/confirm/"), act


def test_the_ca_itself_refuses_whoever_is_no_administrator(installation: Installation, name: str) -> None:
    """Whatever a page may have let through."""
    life = OurCas(installation)
    officer = installation.requester(People.OFFICER)
    root, key = CaType.STANDALONE_ROOT, KeyAlgorithm.ECDSA_P256
    acts: list[Callable[[], object]] = [
        lambda: life.create(name, root, "", key, officer),
        lambda: life.ask(name, CaType.STANDALONE_SUBORDINATE, key, officer),
        lambda: life.request(name, officer),
        lambda: life.install(name, b"", officer),
        lambda: life.withdraw(name, officer),
        lambda: life.sign(ROOT, b"", "1 years", 0, officer),
        lambda: life.renew(ROOT, None, "", officer),
        lambda: life.suspend(ISSUING, officer),
        lambda: life.resume(ISSUING, officer),
        lambda: life.import_crl(b"", officer),
    ]
    for act in acts:
        with pytest.raises(AccessDenied):
            act()


# -- for programs ----------------------------------------------------------------------------------------------------


def asking(name: str) -> dict[str, Any]:
    return {"name": name, "type": "standalone-subordinate", "by_request": True, "key": P256}


@pytest.fixture
def program(console: object) -> Caller:
    return Caller(token(People.CA_ADMINISTRATOR))


def test_programs_make_sign_install_and_renew(program: Caller, installation: Installation, name: str) -> None:
    asked = said(
        program.post("/ca-lives", asking(name)),
        201,
    )
    assert asked["ca"]["waits"]
    again = said(program.get(f"/ca-lives/{name}/request"))
    assert again["request"] == asked["request"]
    signed = said(program.post(f"/ca-lives/{ROOT}/signatures", {"request": asked["request"], "validity": "5 years"}))
    installed = said(program.post(f"/ca-lives/{name}/certificate", {"certificates": signed["certificates"]}))
    assert len(installed["ca"]["certificates"]) == 1

    renewal = said(program.post(f"/ca-lives/{name}/renewal", {"new_key": P256, "by_request": True}))
    assert renewal["request"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert program.delete(f"/ca-lives/{name}/request").status_code == 204
    listed = {each["name"]: each for each in said(program.get("/ca-lives"))}
    assert not listed[name]["waits"]
    assert listed[ISSUING]["parent"] == ROOT


def test_programs_suspend_and_resume(program: Caller, name: str) -> None:
    body = {"name": name, "type": "enterprise-subordinate", "parent": ROOT, "key": P256}
    assert not said(program.post("/ca-lives", body), 201)["ca"]["suspended"]
    assert said(program.post(f"/ca-lives/{name}/suspend", {}))["suspended"]
    assert not said(program.post(f"/ca-lives/{name}/resume", {}))["suspended"]


def test_programs_are_refused_like_people(program: Caller, name: str, installation: Installation) -> None:
    auditor = Caller(token(People.AUDITOR))
    assert said(auditor.get("/ca-lives"))
    root = {"name": name, "type": "standalone-root", "key": P256}
    refused(auditor.post("/ca-lives", root), 403)
    refused(program.post("/ca-lives", {**root, "parent": ROOT}), 422)
    refused(program.get("/ca-lives/Nobody/request"), 404)
    refused(program.post(f"/ca-lives/{ROOT}/signatures", {"request": "nothing"}), 422)
    own = armor.armor(armor.X509_CRL, (installation.home.published / f"{ISSUING}.crl").read_bytes())
    refused(program.post("/crls-above", {"crl": own}), 422)


def test_a_self_made_certificate_is_no_answer(program: Caller, name: str) -> None:
    """Somebody else's root has not signed our request."""
    said(
        program.post("/ca-lives", asking(name)),
        201,
    )
    key = ec_key("P-256", 77)
    subject = x509.Name.from_rfc4514_string(f"CN={name}")
    now = datetime.now(UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = forged.public_bytes(Encoding.PEM).decode()
    refused(program.post(f"/ca-lives/{name}/certificate", {"certificates": pem}), 422)
    program.delete(f"/ca-lives/{name}/request")
