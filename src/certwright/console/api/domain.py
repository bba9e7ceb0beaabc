"""The Active Directory domain an installation belongs to, and what a CA publishes there.

Without a domain there is nothing to show: 404. Who may publish is asked as for the command line; the password of
another account than the service account is used for that one act and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from ninja import Query, Router
from pydantic import Field, SecretStr, StringConstraints

from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import Entered, Line, QueryFlag, Told, line
from certwright.console.domain_desk import DomainDesk, DomainWriter
from certwright.console.rooms import rooms
from certwright.directory.active_directory.publication import Difference, ObjectChange, Plan, shown_value

router = Router(tags=["Active Directory"])

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Url = Annotated[str, line(2048, least=1)]


class KeytabKey(Told):
    """One key of a keytab, without the key."""

    principal: str
    version: int
    encryption: str
    taken: bool  # only AES is
    written: datetime


class Keytab(Told):
    path: str
    of_account: bool  # the directory is read with it
    of_listeners: bool  # tickets for our pages are opened with it
    problem: str
    keys: list[KeytabKey]


class ActiveDirectory(Told):
    """The domain as this installation is joined to it."""

    dns_domain: str
    realm: str
    netbios: str
    sid: str
    account: str  # the service account
    has_password: bool  # instead of a keytab
    controllers: list[str]  # as configured; empty: found by DNS
    controller: str  # that answers now; empty: none does
    site: str
    ca_file: str
    keytabs: list[Keytab]


class Check(Told):
    """One thing that `certwright doctor domain` looked at."""

    name: str
    subject: str
    verdict: str  # ok, note or wrong
    sentence: str
    fix: str


class Examination(Told):
    sound: bool
    checks: list[Check]


class AttributeChange(Told):
    attribute: str
    removed: list[str]
    added: list[str]


class ObjectStep(Told):
    action: str  # add, change or delete
    dn: str
    object_class: str
    attributes: list[AttributeChange]


class MissingGrant(Told):
    """A right that the service account lacks, and the command by which an administrator gives it."""

    account: str
    right: str
    dn: str
    command: str


class Publication(Told):
    """A CA in the domain: what publishing it, or taking it back, would change now."""

    published: bool  # the clock keeps it in the domain
    digest: str  # of these steps; an act that names it does these and no others
    objects: list[str]  # every object that was compared
    steps: list[ObjectStep]
    missing: list[MissingGrant]
    left_out: dict[str, str]  # templates that are not published at first, and why


class PublicationAsked(Entered):
    removal: Annotated[QueryFlag, Field(description="What taking it back would change")] = False


class PublicationAct(Entered):
    agreed: Annotated[
        Digest | None, Field(description="Digest of the steps that were looked at; other steps are not done (409)")
    ] = None
    account: Annotated[Line, Field(description="An account of the domain that writes instead")] = ""
    password: Annotated[SecretStr, Field(max_length=256, description="Its password, used once")] = SecretStr("")


class PolicyAsked(Entered):
    server: Annotated[
        tuple[Url, ...], Field(max_length=10, description="URLs of policy servers (CEP), asked before the directory")
    ] = ()


class RegistryValue(Told):
    key: str
    name: str
    text: str  # as people read it


def _desk() -> DomainDesk:
    found = rooms().domain
    if found is None:
        raise not_there("Active Directory domain: this installation has a directory of its own")
    return found


@operation(router, "GET", "/active-directory", ActiveDirectory)
def get_active_directory(request: ApiRequest) -> ActiveDirectory:
    """Show the domain, the service account and its keys."""
    found = _desk().membership()
    return ActiveDirectory(
        dns_domain=found.dns_domain,
        realm=found.realm,
        netbios=found.netbios,
        sid=found.sid,
        account=found.account,
        has_password=found.has_password,
        controllers=list(found.controllers),
        controller=found.controller,
        site=found.site,
        ca_file=found.ca_file,
        keytabs=[
            Keytab(
                path=each.path,
                of_account=each.of_account,
                of_listeners=each.of_listeners,
                problem=each.problem,
                keys=[
                    KeytabKey(
                        principal=key.principal,
                        version=key.version,
                        encryption=key.encryption_name,
                        taken=key.is_aes,
                        written=key.written,
                    )
                    for key in each.keys
                ],
            )
            for each in found.keytabs
        ],
    )


@operation(router, "GET", "/active-directory/examination", Examination)
def examine_active_directory(request: ApiRequest) -> Examination:
    """Look for what is wrong between this installation and its domain, each with its fix. Takes seconds."""
    checks = _desk().examine()
    return Examination(
        sound=all(each.verdict.value != "wrong" for each in checks),
        checks=[
            Check(
                name=each.name,
                subject=each.subject,
                verdict=each.verdict.value,
                sentence=each.sentence,
                fix=each.fix,
            )
            for each in checks
        ],
    )


@operation(router, "GET", "/active-directory/group-policy", list[RegistryValue])
def get_enrollment_policy(request: ApiRequest, asked: Query[PolicyAsked]) -> Sequence[RegistryValue]:
    """Show what a Group Policy has to say so that members enroll by themselves."""
    return [RegistryValue(key=each.key, name=each.name, text=str(each)) for each in _desk().policy(asked.server)]


@operation(router, "GET", "/cas/{ca}/publication", Publication)
def get_publication(request: ApiRequest, ca: CaName, asked: Query[PublicationAsked]) -> Publication:
    """Compare what the domain holds of a CA with what it should hold; nothing is changed."""
    name = ca_of(request.viewer, ca).name
    return _told(name, _desk().plan(name, removal=asked.removal))


@operation(router, "POST", "/cas/{ca}/publication", Publication)
def publish_ca(request: ApiRequest, ca: CaName, entered: PublicationAct) -> Publication:
    """Publish a CA in the domain, and keep it published; answers what is left to do."""
    return _act(request, ca, entered, removal=False)


@operation(router, "POST", "/cas/{ca}/publication/take-back", Publication)
def unpublish_ca(request: ApiRequest, ca: CaName, entered: PublicationAct) -> Publication:
    """Take a CA out of the domain; answers what is left of it. Certificates of other CAs, and templates, stay."""
    return _act(request, ca, entered, removal=True)


def _act(request: ApiRequest, ca: str, entered: PublicationAct, *, removal: bool) -> Publication:
    name, desk = ca_of(request.viewer, ca).name, _desk()
    secret = entered.password.get_secret_value()
    writer = DomainWriter(entered.account, secret) if entered.account or secret else None
    desk.apply(name, request.viewer.requester, removal=removal, writer=writer, agreed=entered.agreed or "")
    return _told(name, desk.plan(name, removal=removal))


def _told(name: str, plan: Plan) -> Publication:
    desk = _desk()
    return Publication(
        published=desk.is_published(name),
        digest=plan.digest,
        objects=list(plan.objects),
        steps=[_step(change) for change in plan.changes],
        missing=[
            MissingGrant(account=each.account, right=each.right, dn=each.dn, command=each.command)
            for each in desk.grants(plan)
        ],
        left_out=dict(plan.left_out),
    )


def _step(change: ObjectChange) -> ObjectStep:
    return ObjectStep(
        action=change.action.value,
        dn=change.dn,
        object_class=change.object_class,
        attributes=[_attribute(each) for each in change.differences],
    )


def _attribute(difference: Difference) -> AttributeChange:
    def shown(values: tuple[bytes, ...]) -> list[str]:
        return [shown_value(difference.attribute, value) for value in values]

    return AttributeChange(
        attribute=difference.attribute, removed=shown(difference.removed), added=shown(difference.added)
    )
