"""Request forms: what repeated orders have in common, so that a repeat asks only for the names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from ninja import Router
from pydantic import Field

from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.orders import (
    MAX_TOKEN,
    AlternativeNames,
    Order,
    alternative_names,
    order_of,
    own_token,
)
from certwright.console.api.problems import named_in_the_path
from certwright.console.api.shapes import Entered, Line, Name, PathId, Tags, TemplateName, Told, line
from certwright.console.rooms import rooms
from certwright.keystores.base import KeyAlgorithm
from certwright.manager import values

router = Router(tags=["Request forms"])


class FormEntered(Entered):
    name: Name
    domain: Name
    template: TemplateName
    algorithm: KeyAlgorithm = KeyAlgorithm.RSA_3072
    subject: Annotated[str, line(1000), Field(description="What stands beside the common name: OU=Web,O=Corp")] = ""
    names: Annotated[AlternativeNames, Field(description="That every request has")] = ()
    owner: Line = ""
    tags: Tags = ()

    @property
    def fields(self) -> values.FormFields:
        return values.FormFields(
            name=self.name,
            domain=self.domain,
            template=self.template,
            algorithm=self.algorithm,
            subject=self.subject.strip(),
            names=alternative_names(self.names),
            owner=self.owner,
            tags=self.tags,
        )


class RequestForm(Told):
    id: int
    name: str
    domain: str
    template: str
    algorithm: KeyAlgorithm
    subject: str
    names: list[str]
    owner: str
    tags: list[str]
    used: int
    last_used: datetime | None
    created: datetime


class Repeat(Entered):
    """All that a repeat asks for."""

    common_name: Line = ""
    names: AlternativeNames = ()
    owner: Line = ""
    token: Annotated[str, line(MAX_TOKEN), Field(description="As for a new order")] = ""


@operation(router, "GET", "/request-forms", list[RequestForm])
def list_request_forms(request: ApiRequest) -> Sequence[RequestForm]:
    """List all request forms."""
    return [_told(each) for each in rooms().manager.forms.list()]


@operation(router, "POST", "/request-forms", RequestForm, status=201)
def add_request_form(request: ApiRequest, entered: FormEntered) -> RequestForm:
    """Add a request form."""
    return _told(rooms().manager.forms.add(entered.fields, actor=request.viewer.account))


@operation(router, "GET", "/request-forms/{int:form_id}", RequestForm)
def get_request_form(request: ApiRequest, form_id: PathId) -> RequestForm:
    """Show a request form."""
    return _told(_form(form_id))


@operation(router, "PUT", "/request-forms/{int:form_id}", RequestForm)
def edit_request_form(request: ApiRequest, form_id: PathId, entered: FormEntered) -> RequestForm:
    """Change a request form: all of its fields are replaced."""
    _form(form_id)
    return _told(rooms().manager.forms.edit(form_id, entered.fields, actor=request.viewer.account))


@operation(router, "DELETE", "/request-forms/{int:form_id}")
def delete_request_form(request: ApiRequest, form_id: PathId) -> None:
    """Remove a request form; what was ordered with it stays."""
    _form(form_id)
    rooms().manager.forms.delete(form_id, actor=request.viewer.account)


@operation(router, "POST", "/request-forms/{int:form_id}/orders", Order, status=201)
def order_by_request_form(request: ApiRequest, form_id: PathId, entered: Repeat) -> Order:
    """Order by a request form; the key is made here."""
    _form(form_id)
    viewer, manager = request.viewer, rooms().manager
    names = alternative_names(entered.names)
    token = own_token(viewer, entered.token)
    fields = manager.forms.order(form_id, entered.common_name, names, owner=entered.owner, token=token)
    return order_of(manager.orders.place(fields, actor=viewer.account))


def _form(form_id: int) -> values.RequestForm:
    with named_in_the_path():
        found: values.RequestForm = rooms().manager.forms.get(form_id)
    return found


def _told(form: values.RequestForm) -> RequestForm:
    fields = form.fields
    return RequestForm(
        id=form.id,
        name=fields.name,
        domain=fields.domain,
        template=fields.template,
        algorithm=fields.algorithm,
        subject=fields.subject,
        names=list(map(str, fields.names)),
        owner=fields.owner,
        tags=list(fields.tags),
        used=form.used,
        last_used=form.last_used,
        created=form.created,
    )
