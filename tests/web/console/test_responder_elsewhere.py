"""CAs elsewhere in the console and over the API: added, given a signer, enabled, watched, removed."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.files.uploadedfile import SimpleUploadedFile

from certwright.console.rooms import furnish, rooms
from certwright.online_responder.service import BASE, Worry, WorryState
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.api import Caller, said, token
from tests.support.foreign_ca import COMPROMISED, ForeignCa
from tests.support.installation import ISSUING, People
from tests.web.console.conftest import Browser, text_of

CA = f"/ca/{quote(sanitized_name(ISSUING))}"
HERE = f"{CA}/revocation/elsewhere/"
SignIn = Callable[..., Browser]
_numbers = count(1)


class Published:
    """A CA elsewhere whose CRL lies on a web server of this host."""

    def __init__(self) -> None:
        self.ca = ForeignCa(f"Published CA {next(_numbers)}")
        self.crl = self.ca.crl({1: COMPROMISED}, number=5)
        published = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(published.crl)))
                self.end_headers()
                self.wfile.write(published.crl)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/ca.crl"

    def signer(self, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        return self.ca.sign_responder(key)

    def signer_file(self) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.ca.sign_responder(key.public_key()).public_bytes(Encoding.PEM)
        return certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def published(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """Loopback is asked as if the installer had allowed it."""
    allowed = replace(installation.home.settings, webhook_allow=("127.0.0.0/8",))
    monkeypatch.setattr(installation, "home", Home(installation.home.folder, allowed))
    made = Published()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def administrator(sign_in: SignIn) -> Browser:
    return sign_in(People.CA_ADMINISTRATOR)


def upload(data: bytes, name: str = "ca.pem") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def add(browser: Browser, published: Published) -> str:
    """Its page."""
    form = {"file": upload(published.ca.pem), "name": "", "crl_urls": published.url, "delta_crl_urls": ""}
    answer = browser.post(f"{HERE}add/", form)
    assert answer.status_code == 302, text_of(answer)
    page: str = answer["Location"]
    return page


def test_a_ca_is_added_given_a_signer_and_enabled(administrator: Browser, published: Published) -> None:
    page = add(administrator, published)
    shown = text_of(administrator.get(page))
    assert published.ca.name in shown
    assert published.url in shown

    refused = administrator.post(f"{page}enable/")
    assert "signing certificate" in text_of(refused)
    installed = administrator.post(
        f"{page}install-signer/", {"file": upload(published.signer_file()), "password": ""}
    )
    assert installed.status_code == 302, text_of(installed)
    assert administrator.post(f"{page}enable/").status_code == 302

    assert "answers" in text_of(administrator.get(page))
    assert published.ca.name in text_of(administrator.get(HERE))


def test_a_request_for_a_signer_is_downloaded_and_its_answer_installed(
    administrator: Browser, published: Published
) -> None:
    page = add(administrator, published)
    answer = administrator.post(f"{page}request-signer/")
    request = x509.load_pem_x509_csr(answer.content)
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    issued = published.signer(key).public_bytes(Encoding.DER)

    done = administrator.post(f"{page}install-signer/", {"file": upload(issued, "signer.crt"), "password": ""})

    assert done.status_code == 302, text_of(done)


def test_what_cannot_be_is_said_in_the_form(administrator: Browser, published: Published) -> None:
    page = add(administrator, published)
    for path, form, why in (
        (f"{HERE}add/", {"file": upload(b"nothing"), "crl_urls": published.url}, "no certificate of a CA"),
        (f"{HERE}add/", {"file": upload(ForeignCa("Q").pem), "crl_urls": "gopher://x"}, "is no location"),
        (f"{HERE}add/", {"file": upload(ForeignCa("Q").pem), "crl_urls": "file:///etc/passwd"}, "command line"),
        (f"{page}install-signer/", {"file": upload(published.ca.pem)}, "no certificate with its key"),
    ):
        assert why in text_of(administrator.post(path, form)), path


def test_sources_and_settings_are_edited(administrator: Browser, published: Published) -> None:
    page = add(administrator, published)
    assert "refresh-minutes" in administrator.get(f"{page}edit/").content.decode()
    values = dict(rooms().responder.standing(published.ca.name).texts)

    done = administrator.post(f"{page}edit/", values | {"refresh-minutes": "7", "nonce": "ignore"})

    assert done.status_code == 302, text_of(done)
    texts = rooms().responder.standing(published.ca.name).texts
    assert (texts["refresh-minutes"], texts["nonce"]) == ("7", "ignore")


def test_what_goes_wrong_with_copying_is_shown(administrator: Browser, published: Published) -> None:
    page = add(administrator, published)
    published.crl = published.ca.crl(number=4)

    administrator.post(f"{page}copy/")

    assert "goes back from 5 to 4" in text_of(administrator.get(page))


def test_it_is_removed(administrator: Browser, published: Published) -> None:
    page = add(administrator, published)

    assert administrator.post(f"{page}remove/").status_code == 302
    assert administrator.get(page).status_code == 404


def test_what_ends_is_on_the_page_of_health(sign_in: SignIn, published: Published) -> None:
    worry = Worry("Somebody's CA", BASE, WorryState.WARNING, None, "nothing came", "x")

    class Worried:
        def worries(self) -> list[Worry]:
            return [worry]

        def __getattr__(self, name: str) -> Any:
            return getattr(before, name)

    before = rooms().responder
    furnish(replace(rooms(), responder=Worried()))
    shown = text_of(sign_in(People.CA_ADMINISTRATOR).get("/health/"))

    assert "Somebody's CA" in shown
    assert "Copied base CRL" in shown
    assert "nothing came" in shown


def test_who_administers_no_ca_is_refused_by_the_service_too(installation: Installation) -> None:
    """The page's roles aside: the service behind asks the CA."""
    from certwright.adcs.errors import AccessDenied

    with pytest.raises(AccessDenied):
        rooms().responder.add("", b"", {}, installation.requester(People.OFFICER))


# -- the API


def test_the_api_does_what_the_pages_do(console: object, published: Published) -> None:
    caller = Caller(token(People.CA_ADMINISTRATOR))
    added = said(
        caller.post("/responder/cas", {"certificate": published.ca.pem.decode(), "crl_urls": [published.url]}), 201
    )
    one = f"/responder/cas/{added['id']}"
    assert added["crls"][0]["number"] == "5"
    assert added["enabled"] is False
    assert said(caller.post(f"{one}/enable"), 422)["detail"].startswith("there is no signing certificate")

    file = base64.b64encode(published.signer_file()).decode()
    assert said(caller.send("PUT", f"{one}/signer", {"file": file}))["serial_number"]
    assert said(caller.post(f"{one}/enable"))["enabled"] is True
    changed = said(caller.send("PATCH", one, {"settings": {"refresh-minutes": "9"}}))
    assert {each["key"]: each["value"] for each in changed["settings"]}["refresh-minutes"] == "9"
    published.crl = published.ca.crl(number=6)
    assert said(caller.post(f"{one}/copy"))["crls"][0]["number"] == "6"
    request = caller.post(f"{one}/signer-request")
    assert request.status_code == 201
    assert x509.load_pem_x509_csr(request.content).is_signature_valid
    assert added["id"] in [each["id"] for each in said(caller.get("/responder/cas"))]
    assert caller.send("DELETE", one).status_code == 204
    assert caller.get(one).status_code == 404


def test_no_files_of_the_host_by_the_api(console: object, published: Published) -> None:
    caller = Caller(token(People.CA_ADMINISTRATOR))
    body = {"certificate": published.ca.pem.decode(), "crl_urls": ["file:///etc/passwd"]}

    assert "command line" in said(caller.post("/responder/cas", body), 403)["detail"]


def test_a_signer_of_our_own_ca_is_chosen(console: object, installation: Installation) -> None:
    """Asked for and issued by our CA; a certificate that it did not issue is refused."""
    caller = Caller(token(People.CA_ADMINISTRATOR))
    ours = f"/cas/{quote(sanitized_name(ISSUING))}/responder"
    key = ec.generate_private_key(ec.SECP256R1())
    stranger = ForeignCa("Stranger").sign_responder(key.public_key()).public_bytes(Encoding.PEM)
    pem = stranger + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    refused = said(caller.send("PUT", f"{ours}/signer", {"file": base64.b64encode(pem).decode()}), 422)

    assert "another CA" in refused["detail"]
    assert caller.post(f"{ours}/signer-request").status_code == 201
