"""Our CAs as a whole: made, certified from elsewhere, renewed; files that are carried between hosts, as PEM text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

from ninja import Router
from pydantic import Field, StringConstraints

from certwright.adcs.ca_life import LivingCa
from certwright.adcs.properties import CaType
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import Entered, Flag, Told, line
from certwright.console.rooms import rooms
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import armor
from certwright.pki.names import sanitized_name

router = Router(tags=["CAs"])

TYPES: Final = {
    "enterprise-subordinate": CaType.ENTERPRISE_SUBORDINATE,
    "standalone-subordinate": CaType.STANDALONE_SUBORDINATE,
    "standalone-root": CaType.STANDALONE_ROOT,
    "enterprise-root": CaType.ENTERPRISE_ROOT,
}
_WORDS: Final = {kind: word for word, kind in TYPES.items()}

TypeWord = Literal["enterprise-subordinate", "standalone-subordinate", "standalone-root", "enterprise-root"]
File = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1 << 20),
    Field(description="PEM text"),
]
CrlFile = Annotated[str, StringConstraints(min_length=1, max_length=16 << 20), Field(description="PEM text")]
CommonName = Annotated[str, line(64, least=1)]
Validity = Annotated[str, line(32), Field(description="Such as `10 years`; empty for the usual time")]


class CaCertificate(Told):
    index: int
    key_index: int
    serial_number: str
    sha256: str
    not_before: datetime
    not_after: datetime
    key_is_here: bool  # or offline


class CaStory(Told):
    """A CA, also one that has no certificate yet."""

    ca: str  # its name in paths
    name: str
    type: TypeWord
    parent: str  # of this installation; empty for roots, and where the CA above is elsewhere
    is_signed_elsewhere: bool
    waits: bool  # for a certificate from elsewhere
    suspended: bool
    certificates: list[CaCertificate]  # the newest first


class NewCa(Entered):
    name: CommonName
    type: TypeWord
    parent: Annotated[str, line(64), Field(description="The CA of this installation above it; empty for roots")] = ""
    by_request: Annotated[Flag, Field(description="A CA elsewhere signs it: a request is made")] = False
    key: KeyAlgorithm = KeyAlgorithm.RSA_3072


class CaRenewal(Entered):
    new_key: Annotated[KeyAlgorithm | None, Field(description="Of a new key; without it the key stays")] = None
    validity: Validity = ""
    by_request: Annotated[Flag, Field(description="A CA elsewhere signs it: a request is made")] = False


class CaToSign(Entered):
    request: File
    validity: Annotated[str, line(32, least=1)] = "10 years"
    path_length: Annotated[int, Field(ge=0, le=8, strict=True)] = 0


class CaAnswer(Entered):
    certificates: File


class CrlAbove(Entered):
    crl: CrlFile


class MadeCa(Told):
    """What became of it. `request` is empty unless a CA elsewhere has to sign it."""

    ca: CaStory
    request: str
    told: list[str]  # what could not follow at once


class CaRequestText(Told):
    request: str


class CaChain(Told):
    certificates: str  # PEM, the new one first


class CrlTaken(Told):
    issuer: str
    number: int
    next_update: datetime | None
    files: list[str]


@operation(router, "GET", "/ca-lives", list[CaStory])
def list_ca_lives(request: ApiRequest) -> Sequence[CaStory]:
    """List our CAs with their certificates, also those that wait for one from elsewhere."""
    return [_told(ca) for ca in rooms().ca_life.all()]


@operation(router, "POST", "/ca-lives", MadeCa, status=201)
def create_ca(request: ApiRequest, entered: NewCa) -> MadeCa:
    """Make a CA: a root, one below a CA of ours, or one whose request is carried elsewhere."""
    life, operator, kind = rooms().ca_life, request.viewer.requester, TYPES[entered.type]
    if entered.by_request:
        asked = _armored(life.ask(entered.name, kind, entered.key, operator))
        return MadeCa(ca=_told(_named(entered.name)), request=asked, told=[])
    told = life.create(entered.name, kind, entered.parent, entered.key, operator)
    return MadeCa(ca=_told(_named(entered.name)), request="", told=list(told))


@operation(router, "GET", "/ca-lives/{ca}/request", CaRequestText)
def get_ca_request(request: ApiRequest, ca: CaName) -> CaRequestText:
    """Show the request of a CA that waits for its certificate."""
    found = _found(ca)
    return CaRequestText(request=_armored(rooms().ca_life.request(found.name, request.viewer.requester)))


@operation(router, "DELETE", "/ca-lives/{ca}/request")
def withdraw_ca_request(request: ApiRequest, ca: CaName) -> None:
    """Give up the request of a CA, with the key that was made for it."""
    rooms().ca_life.withdraw(_found(ca).name, request.viewer.requester)


@operation(router, "POST", "/ca-lives/{ca}/certificate", MadeCa)
def install_ca_certificate(request: ApiRequest, ca: CaName, entered: CaAnswer) -> MadeCa:
    """Install the certificate that a CA elsewhere signed, with the chain up to its root."""
    found = _found(ca)
    told = rooms().ca_life.install(found.name, entered.certificates.encode(), request.viewer.requester)
    return MadeCa(ca=_told(_named(found.name)), request="", told=list(told))


@operation(router, "POST", "/ca-lives/{ca}/renewal", MadeCa)
def renew_ca(request: ApiRequest, ca: CaName, entered: CaRenewal) -> MadeCa:
    """Renew a CA's certificate, with the same key or a new one."""
    standing = ca_of(request.viewer, ca)
    asked, told = rooms().ca_life.renew(
        standing.name, entered.new_key, entered.validity, request.viewer.requester, by_request=entered.by_request
    )
    return MadeCa(ca=_told(_named(standing.name)), request=_armored(asked) if asked else "", told=list(told))


@operation(router, "POST", "/ca-lives/{ca}/signatures", CaChain)
def sign_ca(request: ApiRequest, ca: CaName, entered: CaToSign) -> CaChain:
    """Certify another CA by its request file; answers its certificate and those above it."""
    standing = ca_of(request.viewer, ca)
    chain = rooms().ca_life.sign(
        standing.name, entered.request.encode(), entered.validity, entered.path_length, request.viewer.requester
    )
    return CaChain(certificates="".join(armor.armor(armor.CERTIFICATE, each) for each in chain))


@operation(router, "POST", "/ca-lives/{ca}/suspend", CaStory)
def suspend_ca(request: ApiRequest, ca: CaName) -> CaStory:
    """Let a CA issue nothing for a while; it goes on revoking, publishing and giving out what it issued."""
    standing = ca_of(request.viewer, ca)
    rooms().ca_life.suspend(standing.name, request.viewer.requester)
    return _told(_named(standing.name))


@operation(router, "POST", "/ca-lives/{ca}/resume", CaStory)
def resume_ca(request: ApiRequest, ca: CaName) -> CaStory:
    """Let a suspended CA issue again."""
    standing = ca_of(request.viewer, ca)
    rooms().ca_life.resume(standing.name, request.viewer.requester)
    return _told(_named(standing.name))


@operation(router, "POST", "/crls-above", CrlTaken, status=201)
def import_crl_above(request: ApiRequest, entered: CrlAbove) -> CrlTaken:
    """Publish the CRL of a CA elsewhere that stands above one of ours, such as an offline root."""
    crl = rooms().ca_life.import_crl(entered.crl.encode(), request.viewer.requester)
    return CrlTaken(issuer=crl.issuer, number=crl.number, next_update=crl.next_update, files=list(crl.files))


def _found(slug: str) -> LivingCa:
    for ca in rooms().ca_life.all():
        if sanitized_name(ca.name) == slug:
            return ca
    raise not_there(f"CA called {slug[:80]!r}")


def _named(name: str) -> LivingCa:
    return _found(sanitized_name(" ".join(name.split())))


def _armored(request: bytes) -> str:
    return armor.armor(armor.CERTIFICATE_REQUEST, request)


def _told(ca: LivingCa) -> CaStory:
    return CaStory(
        ca=sanitized_name(ca.name),
        name=ca.name,
        type=_WORDS[ca.ca_type],  # type: ignore[arg-type]
        parent=ca.parent,
        is_signed_elsewhere=ca.is_signed_elsewhere,
        waits=ca.waits,
        suspended=ca.suspended,
        certificates=[CaCertificate.model_validate(each) for each in ca.certificates],
    )
