"""One certificate of the inventory: everything known of it, its files, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import Field, SecretStr

from certwright.adcs.errors import AccessDenied, BadRequestState
from certwright.adcs.roles import RevocationReason
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.inventory import Certificate, certificate_for, certificate_of
from certwright.console.api.operations import operation
from certwright.console.api.orders import Order, order_of
from certwright.console.api.shapes import PEM, Entered, Flag, Line, PathId, QueryFlag, Told, line
from certwright.console.authority import download
from certwright.console.rooms import rooms
from certwright.manager.inventory_values import BulkResult
from certwright.manager.keys import MAX_PASSWORD, MIN_PASSWORD
from certwright.manager.values import RenewalKey
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.explain import explain_certificate

router = Router(tags=["Inventory"])

MAX_LINES: Final = 2000
DER: Final = "application/pkix-cert"
PFX: Final = "application/x-pkcs12"


class Reason(StrEnum):
    """RFC 5280 5.3.1, as far as people may give them."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"

    @property
    def reason(self) -> RevocationReason:
        return RevocationReason.from_rfc_name(self.value)


class FileForm(StrEnum):
    PEM = "pem"
    DER = "der"
    CHAIN = "chain"  # PEM, with what is above it


class Link(Told):
    """A certificate of the chain. `problem` says what is wrong with its signature."""

    subject: str
    key: str
    not_after: datetime
    sha256: str
    problem: str


class HistoryLine(Told):
    when: datetime
    actor: str
    text: str


class CertificateAnswer(Certificate):
    """Everything known of one certificate."""

    pem: str
    contents: list[str]  # decoded, a line each, indented
    chain: list[Link]  # itself first
    chain_complete: bool  # a root is at its end
    history: list[HistoryLine]


class FileAsked(Entered):
    form: FileForm = FileForm.PEM


class Renewal(Entered):
    key: RenewalKey = RenewalKey.NEW
    domain: Annotated[Line, Field(description="Empty: that of its own order")] = ""
    template: Annotated[str, line(64), Field(description="Empty: that of its own order")] = ""


class Revocation(Entered):
    reason: Reason = Reason.UNSPECIFIED


class KeyForm(StrEnum):
    PFX = "pfx"
    PEM = "pem"


class KeyExport(Entered):
    form: KeyForm = KeyForm.PFX
    password: Annotated[
        SecretStr, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, description="Protects the file")
    ]
    reason: Annotated[str, line(500, least=1), Field(description="For the audit trail")]
    for_old_windows: Annotated[Flag, Field(description="Weaker, for Windows before Server 2019")] = False


class Deletion(Entered):
    with_key: Annotated[QueryFlag, Field(description="Also where its private key exists only here")] = False


@operation(router, "GET", "/inventory/{int:certificate_id}", CertificateAnswer)
def get_certificate(request: ApiRequest, certificate_id: PathId) -> CertificateAnswer:
    """Show a certificate: contents, chain, history."""
    found = certificate_for(request.viewer, certificate_id)
    chain = [CertificateView.parse(each) for each in (found.der, *found.chain)]
    return CertificateAnswer(
        **certificate_of(found.row).model_dump(),
        pem=armor.armor(armor.CERTIFICATE, found.der),
        contents=_contents(found.der),
        chain=_links(chain),
        chain_complete=chain[-1].is_self_issued,
        history=[HistoryLine.model_validate(each) for each in found.history],
    )


def _contents(data: bytes) -> list[str]:
    try:
        return list(explain_certificate(data).lines())[:MAX_LINES]
    except EncodingError as error:
        return [str(error)]


def _links(chain: Sequence[CertificateView]) -> list[Link]:
    links = []
    for position, view in enumerate(chain):
        issuer = chain[position + 1] if position + 1 < len(chain) else view if view.is_self_issued else None
        problem = ""
        if issuer is not None:
            try:
                view.verify_signed_by(issuer)
            except (EncodingError, SignatureError) as error:
                problem = str(error)
        links.append(
            Link(
                subject=view.subject_name,
                key=str(view.public_key),
                not_after=view.not_after,
                sha256=view.sha256,
                problem=problem,
            )
        )
    return links


@operation(router, "GET", "/inventory/{int:certificate_id}/file", produces=(PEM, DER))
def get_certificate_file(request: ApiRequest, certificate_id: PathId, asked: Query[FileAsked]) -> HttpResponse:
    """Download a certificate in PEM or DER, or with its chain. Never with its key."""
    row = certificate_for(request.viewer, certificate_id).row
    exporting = rooms().manager.exporting
    if asked.form is FileForm.DER:
        return download(f"{row.serial}.cer", exporting.der(row.id), DER)
    with_chain = asked.form is FileForm.CHAIN
    data = exporting.pem([row.id], with_chain=with_chain)
    return download(f"{row.serial}{'-chain' if with_chain else ''}.pem", data, PEM)


@operation(router, "POST", "/inventory/{int:certificate_id}/renew", Order, status=201)
def renew_certificate(request: ApiRequest, certificate_id: PathId, entered: Renewal) -> Order:
    """Order a certificate's successor: the same names, a new key made here, or the same key."""
    row = certificate_for(request.viewer, certificate_id, to_change=True).row
    order = rooms().manager.renewal.renew(
        row.id, key=entered.key, domain=entered.domain, template=entered.template, actor=request.viewer.account
    )
    return order_of(order)


@operation(router, "POST", "/inventory/{int:certificate_id}/revoke", Certificate)
def revoke_certificate(request: ApiRequest, certificate_id: PathId, entered: Revocation) -> Certificate:
    """Revoke at the CA that issued it, where this installation may."""
    row = certificate_for(request.viewer, certificate_id, to_change=True).row
    inventory = rooms().manager.inventory
    inventory.revoke(row.id, entered.reason.reason, actor=request.viewer.account)
    return certificate_of(inventory.get(row.id).row)


@operation(router, "POST", "/inventory/{int:certificate_id}/key", produces=(PFX, PEM))
def export_key(request: ApiRequest, certificate_id: PathId, entered: KeyExport) -> HttpResponse:
    """Export the private key with its certificate and chain, encrypted with the password.

    Besides scope and role the account needs the right to export keys, which console administrators give. It is
    written to the audit trail before the file is handed out.
    """
    viewer = request.viewer
    row = certificate_for(viewer, certificate_id, to_change=True).row
    if not viewer.may_export_keys:
        raise AccessDenied(f"{viewer.account} may not export private keys; a console administrator gives that right.")
    keys, password = rooms().manager.keys, entered.password.get_secret_value()
    if entered.form is KeyForm.PEM:
        data = keys.export_pem(row.id, password, reason=entered.reason, actor=viewer.account)
        return download(f"{row.serial}-key.pem", data, PEM)
    data = keys.export_pfx(
        row.id, password, for_old_windows=entered.for_old_windows, reason=entered.reason, actor=viewer.account
    )
    return download(f"{row.serial}.pfx", data, PFX)


@operation(router, "DELETE", "/inventory/{int:certificate_id}")
def delete_certificate(request: ApiRequest, certificate_id: PathId, asked: Query[Deletion]) -> None:
    """Forget a certificate. It stays valid.

    Where its private key exists only here, that has to be said with `with_key`, and the key is lost.
    """
    row = certificate_for(request.viewer, certificate_id, to_change=True).row
    result: BulkResult = rooms().manager.inventory.delete(
        [row.id], with_key=asked.with_key, actor=request.viewer.account
    )
    if row.id in result.refused:
        raise BadRequestState(result.refused[row.id])
