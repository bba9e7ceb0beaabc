"""Acts on many certificates of the list: each is acted on by itself, and what was refused is said by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.adcs.errors import AdcsError, InvalidArgument
from certwright.adcs.roles import RevocationReason
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.pages.deciding import REASONS
from certwright.console.pages.inventory import (
    CHANGING,
    FORMS,
    MAX_PICKED,
    is_own,
    may_change,
    name_of,
    picked,
    query_of,
    read_list,
)
from certwright.console.pages.renewal import KEY_WORDS
from certwright.console.rooms import rooms
from certwright.manager.inventory import MAX_BULK
from certwright.manager.inventory_values import BulkResult, CertificateRow
from certwright.manager.values import RenewalKey

_HERE: Final = "/inventory/"
_ACTING: Final = CHANGING | {Role.REQUESTER}
MAX_RENEWED: Final = 25
"""Renewals that one click orders: each may make a key and ask a CA. A renewal rule has no such bound."""
_NAMED: Final = 8  # certificates that a dialog names


def _chosen(request: PageRequest) -> list[CertificateRow]:
    """What is acted on: the ticked rows, or with `all` what the filters leave, as far as the viewer may see it.

    Raises:
        InvalidArgument: nothing, or too many.
    """
    inventory, viewer = rooms().manager.inventory, request.viewer
    if request.method == "GET" and request.GET.get("all"):
        ids = inventory.ids(query_of(viewer, read_list(request)), MAX_BULK + 1)
        if len(ids) > MAX_BULK:
            raise InvalidArgument(
                _("More than %(count)s certificates match; narrow the filters.") % {"count": f"{MAX_BULK:,}"}
            )
    else:
        ids = picked(request)
    rows = [row for row in inventory.rows(ids) if viewer.sees_everything or is_own(viewer, row)]
    if not rows:
        raise InvalidArgument(_("No certificate is selected."))
    return rows


class _CountForm(forms.Form):
    """What cannot be undone is confirmed by the number of certificates."""

    count = forms.CharField(label=lazy("How many, to confirm"), max_length=6)

    def confirm(self, count: int) -> None:
        self.fields["count"].widget.attrs["data-confirm-word"] = str(count)
        self.wanted = str(count)

    def clean_count(self) -> str:
        given = str(self.cleaned_data["count"]).strip()
        if given != self.wanted:
            raise forms.ValidationError(_("Type %(count)s.") % {"count": self.wanted})
        return given


class TagForm(forms.Form):
    value = forms.CharField(label=lazy("Tags"), max_length=1000, help_text=lazy("Separated by commas."))


class UntagForm(forms.Form):
    value = forms.CharField(label=lazy("Tag"), max_length=64)


class OwnerForm(forms.Form):
    value = forms.CharField(
        label=lazy("Owner"), required=False, max_length=255, help_text=lazy("Empty: nobody is the owner.")
    )


class ManagedForm(forms.Form):
    value = forms.ChoiceField(label=lazy("They are"), choices=[("yes", lazy("Managed")), ("no", lazy("Monitored"))])


class RenewForm(forms.Form):
    key = forms.ChoiceField(label=lazy("Key"), choices=[(each.value, words) for each, words in KEY_WORDS.items()])


class RevokeForm(_CountForm):
    reason = forms.ChoiceField(
        label=lazy("Reason code"), choices=[(reason.rfc_name, words) for reason, words in REASONS]
    )
    field_order = ("reason", "count")


def _bound(kind: type[forms.Form], request: PageRequest) -> forms.Form:
    return kind(request.POST if request.method == "POST" else None)


def _dialog(
    request: PageRequest,
    rows: Sequence[CertificateRow],
    form: forms.Form | None,
    *,
    title: str,
    submit: str,
    text: str = "",
    harmless: bool = True,
) -> HttpResponse:
    """What would be done to which certificates; their numbers go along, so that no other ones are acted on."""
    by_template = Counter(row.template or _("no template") for row in rows)
    context = {
        "title": title,
        "text": text,
        "form": form,
        "submit": submit,
        "harmless": harmless,
        "names": [name_of(row) for row in rows[:_NAMED]],
        "more": max(0, len(rows) - _NAMED),
        "by_template": by_template.most_common(6) if len(by_template) > 1 else [],
        "picks": [row.id for row in rows],
        "action": request.path,
        "back": _back(request),
    }
    failed = form is not None and bool(form.errors)
    return answers.dialog(request, "console/inventory/bulk.html", context, status=422 if failed else 200)


def _back(request: PageRequest) -> str:
    """The list as it was filtered."""
    here = (request.htmx.current_url_abs_path or "") if request.htmx else ""
    return here if here.partition("?")[0] == _HERE else _HERE


def _count(rows: Sequence[CertificateRow]) -> str:
    return ngettext("%(count)s certificate", "%(count)s certificates", len(rows)) % {"count": len(rows)}


def _each(rows: Sequence[CertificateRow], act: Callable[[int], Any]) -> BulkResult:
    """Act on each by itself; one that is refused keeps no other from it."""
    done: list[int] = []
    refused: dict[int, str] = {}
    for row in rows:
        try:
            act(row.id)
        except AdcsError as error:
            refused[row.id] = error.message
        else:
            done.append(row.id)
    return BulkResult(tuple(done), refused)


def _after(request: PageRequest, rows: Sequence[CertificateRow], result: BulkResult, done: str) -> HttpResponse:
    """Back to the list; where something was refused, a dialog names it first.

    Args:
        done: such as "2 renewed".
    """
    if not result.refused:
        return answers.done(request, _back(request), done)
    by_id = {row.id: row for row in rows}
    count = len(result.refused)
    context = {
        "title": f"{done}, {ngettext('%(count)s refused', '%(count)s refused', count) % {'count': count}}",
        "refused": [(by_id[number], name_of(by_id[number]), why) for number, why in result.refused.items()],
        "back": _back(request),
    }
    return answers.dialog(request, "console/inventory/refused.html", context)


def _allowed(request: PageRequest, rows: Sequence[CertificateRow]) -> list[CertificateRow]:
    return [row for row in rows if may_change(request.viewer, row)]


# -- the acts --------------------------------------------------------------------------------------------------------


@page(_ACTING, methods=("GET", "POST"))
def label(request: PageRequest, act: str) -> HttpResponse:
    """Tag, remove a tag, another owner, managed or monitored."""
    kinds: dict[str, type[forms.Form]] = {
        "tag": TagForm,
        "untag": UntagForm,
        "owner": OwnerForm,
        "managed": ManagedForm,
    }
    rows = _allowed(request, _chosen(request))
    form = _bound(kinds[act], request)
    titles = {
        "tag": _("Tag %(what)s"),
        "untag": _("Remove a tag from %(what)s"),
        "owner": _("Another owner for %(what)s"),
        "managed": _("Manage or monitor %(what)s"),
    }
    if form.is_bound and form.is_valid():
        value, actor, inventory = form.cleaned_data["value"], request.viewer.account, rooms().manager.inventory
        ids = [row.id for row in rows]
        result: BulkResult
        try:
            match act:
                case "tag":
                    result = inventory.tag(ids, value.split(","), actor=actor)
                case "untag":
                    result = inventory.untag(ids, value, actor=actor)
                case "owner":
                    result = inventory.set_owner(ids, value, actor=actor)
                case _:
                    result = inventory.set_managed(ids, value == "yes", actor=actor)
        except AdcsError as error:
            form.add_error("value", error.message)
        else:
            return _after(request, rows, result, _("%(count)s changed") % {"count": len(result.done)})
    return _dialog(request, rows, form, title=titles[act] % {"what": _count(rows)}, submit=_("Save"))


@page(_ACTING, methods=("GET", "POST"))
def renew(request: PageRequest) -> HttpResponse:
    """Order their successors now, each as it was ordered before."""
    rows = _allowed(request, _chosen(request))
    if len(rows) > MAX_RENEWED:
        raise InvalidArgument(
            _("At most %(count)s certificates are renewed at once; a renewal rule does more.")
            % {"count": MAX_RENEWED}
        )
    form = _bound(RenewForm, request)
    if form.is_bound and form.is_valid():
        key, renewal = RenewalKey(form.cleaned_data["key"]), rooms().manager.renewal
        result = _each(rows, lambda number: renewal.renew(number, key=key, actor=request.viewer.account))
        done = ngettext("%(count)s ordered", "%(count)s ordered", len(result.done)) % {"count": len(result.done)}
        return _after(request, rows, result, done)
    return _dialog(
        request,
        rows,
        form,
        title=_("Renew %(what)s?") % {"what": _count(rows)},
        text=_("For each one its successor is ordered: the same names, domain and template."),
        submit=_("Order the successors"),
    )


@page(CHANGING, methods=("GET", "POST"))
def revoke(request: PageRequest) -> HttpResponse:
    """Revoke at the CAs that issued them, where this installation may."""
    rows = _allowed(request, _chosen(request))
    if len(rows) > MAX_PICKED:
        raise InvalidArgument(_("At most %(count)s certificates are revoked at once.") % {"count": MAX_PICKED})
    form = _bound(RevokeForm, request)
    assert isinstance(form, RevokeForm)
    form.confirm(len(rows))
    if form.is_bound and form.is_valid():
        reason, inventory = RevocationReason.from_rfc_name(form.cleaned_data["reason"]), rooms().manager.inventory
        result = _each(rows, lambda number: inventory.revoke(number, reason, actor=request.viewer.account))
        return _after(request, rows, result, _("%(count)s revoked") % {"count": len(result.done)})
    return _dialog(
        request,
        rows,
        form,
        title=_("Revoke %(what)s?") % {"what": _count(rows)},
        text=_("Everything that presents one of them will be refused as soon as the next answer or CRL is read."),
        submit=_("Revoke %(what)s") % {"what": _count(rows)},
        harmless=False,
    )


@page(_ACTING, methods=("GET", "POST"))
def delete(request: PageRequest) -> HttpResponse:
    """Forget them; where private keys would be lost with them, their number has to be typed."""
    rows = _allowed(request, _chosen(request))
    keys = sum(row.key_held for row in rows)
    form: _CountForm | None = None
    if keys:
        form = _CountForm(request.POST if request.method == "POST" else None)
        form.confirm(len(rows))
    if request.method == "POST" and (form is None or form.is_valid()):
        ids = [row.id for row in rows]
        inventory = rooms().manager.inventory
        result: BulkResult = inventory.delete(ids, with_key=form is not None, actor=request.viewer.account)
        return _after(request, rows, result, _("%(count)s deleted") % {"count": len(result.done)})
    text = _("They are forgotten here; they stay valid.")
    if keys:
        text = ngettext(
            "%(count)s private key exists only here and is destroyed with its certificate.",
            "%(count)s private keys exist only here and are destroyed with their certificates.",
            keys,
        ) % {"count": keys}
    return _dialog(
        request,
        rows,
        form,
        title=_("Delete %(what)s?") % {"what": _count(rows)},
        text=text,
        submit=_("Delete %(what)s") % {"what": _count(rows)},
        harmless=False,
    )


@page(access.ORDERS)
def files(request: PageRequest, form: str) -> HttpResponse:
    """Lead to the export of what is ticked, or of what matches."""
    if request.GET.get("all"):
        return answers.done(request, read_list(request).url().replace(_HERE, f"{_HERE}export/{form}/", 1))
    chosen = picked(request)[:MAX_PICKED]
    if not chosen:
        raise InvalidArgument(_("No certificate is selected."))
    return answers.done(request, f"{_HERE}export/{form}/?{urlencode([('pick', each) for each in chosen])}")


urls = [
    *(path(f"inventory/bulk/{act}/", label, {"act": act}) for act in ("tag", "untag", "owner", "managed")),
    path("inventory/bulk/renew/", renew),
    path("inventory/bulk/revoke/", revoke),
    path("inventory/bulk/delete/", delete),
    *(path(f"inventory/bulk/files/{form}/", files, {"form": form}) for form in FORMS),
]
