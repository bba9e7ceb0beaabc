"""CAs elsewhere, which the Online Responder answers for from their CRLs; and signing certificates by hand.

CAs elsewhere are administered as the issuing CA of this installation is. Files of the host are named at its command
line only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from django.http import HttpResponse
from ninja import Router
from pydantic import Field

from certwright.adcs.errors import InvalidArgument
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.problems import not_there
from certwright.console.api.responder import ResponderChanges, ResponderSetting
from certwright.console.api.shapes import PEM, Entered, PathId, Told, line
from certwright.console.authority import download
from certwright.console.rooms import rooms
from certwright.online_responder.configuration import SETTINGS
from certwright.online_responder.service import ResponderStanding
from certwright.online_responder.signer_files import MAX_FILE
from certwright.online_responder.sources import SOURCE_SETTINGS
from certwright.online_responder.store import StoredList
from certwright.pki import armor

router = Router(tags=["Online Responder"])

Urls = Annotated[tuple[Annotated[str, line(2048, least=1)], ...], Field(max_length=8)]
File = Annotated[str, Field(max_length=MAX_FILE * 4 // 3 + 4, description="In base64")]


class CopiedCrl(Told):
    """A CRL of a CA elsewhere, as it was copied last; numbers are text, for they may have 160 bits."""

    partition: int  # 0: of everything else
    is_delta: bool
    number: str | None
    this_update: datetime | None
    next_update: datetime | None
    entries: int
    size: int
    copied_from: str
    copied_when: datetime | None
    tried_when: datetime
    error: str  # of the last attempt; empty when it went well

    @classmethod
    def of(cls, kept: StoredList) -> CopiedCrl:
        facts = kept.facts
        return cls(
            partition=kept.partition,
            is_delta=kept.is_delta,
            number=None if facts is None or facts.number is None else str(facts.number),
            this_update=None if facts is None else facts.this_update,
            next_update=None if facts is None else facts.next_update,
            entries=kept.entries,
            size=kept.size,
            copied_from=kept.url,
            copied_when=kept.taken_when,
            tried_when=kept.tried_when,
            error=kept.error,
        )


class CaElsewhere(Told):
    """How the responder stands to a CA whose database is not here."""

    id: int
    name: str
    subject: str  # of its certificate
    enabled: bool
    url: str
    serial_number: str  # of the signing certificate; empty while there is none
    not_after: datetime | None
    crls: list[CopiedCrl]
    settings: list[ResponderSetting]


class CaAdded(Entered):
    """A CA elsewhere: its certificate, and where its CRLs are."""

    name: Annotated[str, line(200), Field(description="What it is called here; its common name by default")] = ""
    certificate: Annotated[str, Field(max_length=MAX_FILE, description="PEM")]
    crl_urls: Annotated[Urls, Field(min_length=1)]
    delta_crl_urls: Urls = ()
    partitions: Annotated[str, line(20), Field(description="4, 2-7, or 1- for all that are found")] = ""


class SignerInstalled(Entered):
    """A signing certificate: PKCS#12 or PEM with its key, or what was issued for a request made here."""

    file: File
    password: Annotated[str, line(1024)] = ""


def _elsewhere(standing: ResponderStanding) -> CaElsewhere:
    settings = {**SOURCE_SETTINGS, **SETTINGS}
    return CaElsewhere(
        id=standing.number,
        name=standing.ca,
        subject=standing.subject,
        enabled=standing.enabled,
        url=standing.url,
        serial_number=standing.serial_number,
        not_after=standing.not_after,
        crls=[CopiedCrl.of(kept) for kept in standing.lists],
        settings=[
            ResponderSetting(key=key, value=text, meaning=settings[key].meaning)
            for key, text in standing.texts.items()
        ],
    )


def _one(number: int) -> ResponderStanding:
    found = next((each for each in rooms().responder.elsewhere() if each.number == number), None)
    if found is None:
        raise not_there(f"CA elsewhere {number}")
    return found


@operation(router, "GET", "/responder/cas", list[CaElsewhere])
def list_cas_elsewhere(request: ApiRequest) -> Sequence[CaElsewhere]:
    """List the CAs elsewhere that the Online Responder knows from their CRLs."""
    return [_elsewhere(each) for each in rooms().responder.elsewhere()]


@operation(router, "POST", "/responder/cas", CaElsewhere, status=201)
def add_ca_elsewhere(request: ApiRequest, entered: CaAdded) -> CaElsewhere:
    """Add a CA elsewhere, disabled; its CRLs are copied at once.

    The same name with its certificate renewed with the same key replaces that.
    """
    sources = {"crl-urls": " ".join(entered.crl_urls)}
    if entered.delta_crl_urls:
        sources["delta-crl-urls"] = " ".join(entered.delta_crl_urls)
    if entered.partitions:
        sources["partitions"] = entered.partitions
    responder = rooms().responder
    name = responder.add(entered.name, entered.certificate.encode(), sources, request.viewer.requester)
    return _elsewhere(responder.standing(name))


@operation(router, "GET", "/responder/cas/{elsewhere_id}", CaElsewhere)
def get_ca_elsewhere(request: ApiRequest, elsewhere_id: PathId) -> CaElsewhere:
    """Show a CA elsewhere."""
    return _elsewhere(_one(elsewhere_id))


@operation(router, "PATCH", "/responder/cas/{elsewhere_id}", CaElsewhere)
def change_ca_elsewhere(request: ApiRequest, elsewhere_id: PathId, entered: ResponderChanges) -> CaElsewhere:
    """Change where its CRLs are copied from and how it is answered for, all or none."""
    rooms().responder.change(_one(elsewhere_id).ca, entered.settings, request.viewer.requester)
    return _elsewhere(_one(elsewhere_id))


@operation(router, "POST", "/responder/cas/{elsewhere_id}/enable", CaElsewhere)
def enable_ca_elsewhere(request: ApiRequest, elsewhere_id: PathId) -> CaElsewhere:
    """Answer for a CA elsewhere from now on; it needs a signing certificate and a CRL."""
    rooms().responder.enable(_one(elsewhere_id).ca, request.viewer.requester)
    return _elsewhere(_one(elsewhere_id))


@operation(router, "POST", "/responder/cas/{elsewhere_id}/disable", CaElsewhere)
def disable_ca_elsewhere(request: ApiRequest, elsewhere_id: PathId) -> CaElsewhere:
    """Cease to answer for a CA elsewhere: clients that ask are told unauthorized."""
    rooms().responder.disable(_one(elsewhere_id).ca, request.viewer.requester)
    return _elsewhere(_one(elsewhere_id))


@operation(router, "DELETE", "/responder/cas/{elsewhere_id}")
def delete_ca_elsewhere(request: ApiRequest, elsewhere_id: PathId) -> None:
    """Forget a CA elsewhere, with its copied CRLs and the keys that sign for it."""
    rooms().responder.remove(_one(elsewhere_id).ca, request.viewer.requester)


@operation(router, "POST", "/responder/cas/{elsewhere_id}/copy", CaElsewhere)
def copy_crls_elsewhere(request: ApiRequest, elsewhere_id: PathId) -> CaElsewhere:
    """Copy its CRLs now; what went wrong is each CRL's `error`."""
    rooms().responder.copy(_one(elsewhere_id).ca, request.viewer.requester)
    return _elsewhere(_one(elsewhere_id))


@operation(router, "POST", "/responder/cas/{elsewhere_id}/signer-request", status=201, produces=PEM)
def request_signer_elsewhere(request: ApiRequest, elsewhere_id: PathId) -> HttpResponse:
    """Make a key and a request for a signing certificate, which that CA has to issue; the key stays here."""
    return _request_signer(request, _one(elsewhere_id).ca)


@operation(router, "PUT", "/responder/cas/{elsewhere_id}/signer", CaElsewhere)
def install_signer_elsewhere(request: ApiRequest, elsewhere_id: PathId, entered: SignerInstalled) -> CaElsewhere:
    """Take a signing certificate in that this CA issued."""
    _install_signer(request, _one(elsewhere_id).ca, entered)
    return _elsewhere(_one(elsewhere_id))


@operation(router, "POST", "/cas/{ca}/responder/signer-request", status=201, produces=PEM)
def request_responder_signer(request: ApiRequest, ca: CaName) -> HttpResponse:
    """Make a key and a request for a signing certificate that is installed by hand; the key stays here."""
    return _request_signer(request, ca_of(request.viewer, ca).name)


@operation(router, "PUT", "/cas/{ca}/responder/signer")
def install_responder_signer(request: ApiRequest, ca: CaName, entered: SignerInstalled) -> None:
    """Take a signing certificate in, for signed-with=chosen."""
    _install_signer(request, ca_of(request.viewer, ca).name, entered)


def _request_signer(request: ApiRequest, name: str) -> HttpResponse:
    made = rooms().responder.request_signer(name, request.viewer.requester)
    text = armor.armor(armor.CERTIFICATE_REQUEST, made).encode()
    response = download("responder.csr", text, PEM)
    response.status_code = 201
    return response


def _install_signer(request: ApiRequest, name: str, entered: SignerInstalled) -> None:
    try:
        data = base64.b64decode(entered.file, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidArgument("the file is no base64") from error
    rooms().responder.install_signer(name, data, entered.password, request.viewer.requester)
