"""`certwright order`: certificates ordered from AD CS services."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certwright.cli.initializing import KeyChoice
from certwright.cli.managing import managing, optional_time
from certwright.cli.session import AsOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from certwright.manager.facade import Manager
    from certwright.manager.values import Order, OrderFields

commands = typer.Typer(help="Orders: certificates requested from AD CS services.", no_args_is_help=True)

_OrderArgument = Annotated[int, typer.Argument(metavar="ORDER", min=1, max=2**62, help="The order's number.")]


class TabChoice(StrEnum):
    """What to list; the same as `manager.values.OrderFilter`, which is slow to import."""

    ALL = "all"
    PENDING = "pending"
    TO_FETCH = "to-fetch"
    ISSUED = "issued"
    DENIED = "denied"
    UNSETTLED = "unsettled"


@commands.command("new")
def new(
    csr: Annotated[
        str, typer.Argument(metavar="[CSR]", help="The request, in PEM, base64 or DER; - reads standard input.")
    ] = "",
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="DOMAIN", help="Whose services to ask.")] = "",
    template: Annotated[str, typer.Option("--template", "-t", metavar="NAME", help="Such as WebServer.")] = "",
    key: Annotated[
        KeyChoice | None, typer.Option("--key", help="Make key and request here; the key is kept, sealed.")
    ] = None,
    cn: Annotated[str, typer.Option("--cn", metavar="NAME", help="The common name, for a key made here.")] = "",
    subject: Annotated[
        str, typer.Option("--subject", metavar="DN", help="What else the subject holds, as in O=Corp,C=DE.")
    ] = "",
    san: Annotated[
        list[str] | None,
        typer.Option("--san", metavar="KIND:NAME", help="dns:, ip:, email:, upn: or uri:; may be repeated."),
    ] = None,
    form: Annotated[
        str, typer.Option("--form", metavar="FORM", help="A saved request form: its name or number.")
    ] = "",
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Whose it is; by default yours.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="May be repeated.")] = None,
    no_fetch: Annotated[bool, typer.Option("--no-fetch", help="Leave it out of the inventory for now.")] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Order a certificate. What is issued goes into the inventory, unless --no-fetch is given.

    Exit status 0 when it was issued, waits for a certificate manager or is looked for; 1 when denied or failed.
    """
    from certwright.cli.files import read_file
    from certwright.pki.armor import DEFAULT_LIMIT

    data = read_file(csr, DEFAULT_LIMIT) if csr else b""
    with managing(home, as_account) as session:
        fields = _order_fields(
            session.manager, data, key, cn, subject, tuple(san or ()), form, domain, template, owner, tuple(tag or ())
        )
        if no_fetch:
            from dataclasses import replace

            fields = replace(fields, fetch=False)
        order = session.manager.orders.place(fields, actor=session.actor)
    print_outcome(order, as_json=as_json)


def _order_fields(
    manager: Manager,
    csr: bytes,
    key: KeyChoice | None,
    cn: str,
    subject: str,
    sans: tuple[str, ...],
    form: str,
    domain: str,
    template: str,
    owner: str,
    tags: tuple[str, ...],
) -> OrderFields:
    """What to order, from options that fit together.

    Raises:
        InvalidArgument: they do not.
    """
    from dataclasses import replace

    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.managing import chosen
    from certwright.keystores.base import KeyAlgorithm
    from certwright.manager.values import AlternativeName, KeyFields, OrderFields
    from certwright.pki import names as dn
    from certwright.pki import oids

    names = tuple(AlternativeName.parse(text) for text in sans)
    if form:
        if csr or key is not None or subject:
            raise InvalidArgument("a form says what key and subject to make; give only --cn and --san with --form")
        found = chosen(form, manager.forms.list(), "request form", "fields.name")
        fields = manager.forms.order(found.id, cn, names, owner=owner)
        return replace(
            fields,
            domain=domain or fields.domain,
            template=template or fields.template,
            tags=(*fields.tags, *tags),
        )
    if not domain or not template:
        raise InvalidArgument("name where to order with --domain, and what with --template (or a --form with both)")
    common = OrderFields(domain, template, owner=owner, tags=tags)
    if csr:
        if key is not None or cn or subject or names:
            raise InvalidArgument("give a request, or --key with --cn and --san, not both")
        return replace(common, csr=csr)
    if key is None:
        raise InvalidArgument("give a request, or --key with --cn and --san to make one here")
    first = dn.format_name(dn.name_of((oids.COMMON_NAME, cn))) if cn else ""
    made = KeyFields(KeyAlgorithm(key.value), ",".join(part for part in (first, subject) if part), names)
    return replace(common, key=made)


@commands.command("list")
def list_orders(
    tab: Annotated[TabChoice, typer.Argument(help="Which orders.")] = TabChoice.ALL,
    text: Annotated[
        str, typer.Option("--text", metavar="TEXT", help="Begin of the common name, a request ID or an order number.")
    ] = "",
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="DOMAIN", help="Only of this domain.")] = "",
    template: Annotated[str, typer.Option("--template", "-t", metavar="NAME", help="Only for this template.")] = "",
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Only of this owner.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Only from this time on.")] = "",
    before: Annotated[int | None, typer.Option("--before", metavar="ORDER", help="Go on before this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many, the newest first.")] = 100,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List orders, the newest first."""
    from certwright.cli.output import note, print_json, print_table
    from certwright.manager.values import OrderFilter, OrderQuery

    query = OrderQuery(
        tab=OrderFilter(tab.value),
        text=text,
        domain=domain,
        template=template,
        owner=owner,
        created_from=optional_time(since, "--since"),
        before=before,
        limit=limit,
    )
    with managing(home, as_account, looking=True) as session:
        page = session.manager.orders.list(query)
    if as_json:
        print_json([_described(order) for order in page.rows])
        return
    print_table(
        (
            (
                order.id,
                order.created,
                order.request_id or "",
                order.common_name,
                order.domain,
                order.template,
                order.state.word,
                order.message,
                order.certificate_id or "",
            )
            for order in page.rows
        ),
        "order",
        "created at",
        "request ID",
        "common name",
        "AD CS domain",
        "template",
        "status",
        "message",
        "certificate",
    )
    if page.next is not None:
        note(f"there are more: --before {page.next}")


@commands.command("show")
def show(
    order_id: _OrderArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Show an order and its story."""
    from certwright.cli.output import print_fields, print_json, print_line, text_of

    with managing(home, as_account, looking=True) as session:
        order = session.manager.orders.get(order_id)
        story = session.manager.orders.story(order_id)
    described = _described(order)
    if as_json:
        print_json(described | {"story": story})
        return
    print_fields((name.replace("_", " "), value) for name, value in described.items())
    print_line("")
    for line in story:
        print_line(f"{text_of(line.when)}  {line.text}")


@commands.command("check")
def check(
    order_id: _OrderArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Ask its CA now what became of a pending order. The worker does this by itself."""
    with managing(home, as_account) as session:
        order = session.manager.orders.check(order_id, actor=session.actor)
    print_outcome(order, as_json=as_json)


@commands.command("look-for")
def look_for(
    order_id: _OrderArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Look for an order whose answer was lost. The worker does this by itself."""
    with managing(home, as_account) as session:
        order = session.manager.orders.look_for(order_id, actor=session.actor)
    print_outcome(order, as_json=as_json)


@commands.command("resubmit")
def resubmit(
    order_id: _OrderArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Send an order again of which certainly nothing exists at any CA."""
    with managing(home, as_account) as session:
        order = session.manager.orders.resubmit(order_id, actor=session.actor)
    print_outcome(order, as_json=as_json)


@commands.command("approve")
def approve(
    order_id: _OrderArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Issue a pending order as the officer of certwright.toml, where its CA is one of this installation."""
    with managing(home, as_account) as session:
        order = session.manager.orders.approve(order_id, actor=session.actor)
    print_outcome(order, as_json=as_json)


@commands.command("fetch")
def fetch(
    order_id: _OrderArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write certificate and chain there too, as PEM."),
    ] = None,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Put certificate and chain of an issued order into the inventory, once."""
    from certwright.cli.files import write_file
    from certwright.cli.output import print_json, print_line

    with managing(home, as_account) as session:
        number = session.manager.orders.fetch(order_id, actor=session.actor)
        pem = session.manager.exporting.pem([number], with_chain=True) if out is not None else b""
    if out is not None:
        write_file(out, pem)
    if as_json:
        print_json({"order": order_id, "certificate": number})
    else:
        print_line(f"Order {order_id} is certificate {number} of the inventory.")


@commands.command("delete")
def delete(
    order_ids: Annotated[list[int], typer.Argument(metavar="ORDER...", help="Their numbers.")],
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Remove the records of orders. Nothing happens at the CA, nor in the inventory."""
    from certwright.cli.output import print_error, print_line

    with managing(home, as_account) as session:
        result = session.manager.orders.delete(order_ids, actor=session.actor)
    for order_id in result.done:
        print_line(f"The record of order {order_id} is gone.")
    for order_id, why in result.refused.items():
        print_error(f"order {order_id}: {why}")
    if result.refused:
        raise typer.Exit(1)


@commands.command("csr")
def csr_of(order_id: _OrderArgument, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Print the request of an order, as PEM."""
    from certwright.pki import armor

    with managing(home, as_account, looking=True) as session:
        der = session.manager.orders.csr(order_id)
    sys.stdout.write(armor.armor(armor.CERTIFICATE_REQUEST, der))


def _described(order: Order) -> dict[str, Any]:
    from dataclasses import fields

    described = {each.name: getattr(order, each.name) for each in fields(order)}
    return described | {"state": order.state.word.lower(), "may_resubmit": order.may_resubmit}


def print_outcome(order: Order, *, as_json: bool) -> None:
    """How an order stands. Denied and failed ones end with exit status 1."""
    from certwright.cli.output import print_error, print_json, print_line
    from certwright.manager.values import OrderState

    line = f"Order {order.id} is {order.state.word.lower()}"
    if order.request_id is not None:
        line += f" (request ID {order.request_id} at {order.hostname})"
    if order.message:
        line += f": {order.message.rstrip('.')}"
    bad = order.state in (OrderState.DENIED, OrderState.FAILED)
    if as_json:
        print_json(_described(order))
    elif bad:
        print_error(line)
    else:
        print_line(f"{line}.")
        if order.certificate_id is not None:
            print_line(f"It is certificate {order.certificate_id} of the inventory.")
    if bad:
        raise typer.Exit(1)
