"""The Active Directory an installation belongs to: how it is reached, what is wrong, what a CA publishes there.

Everything comes from `rooms().domain`, which asks who may and writes the audit trail, as the command line's
`domain` and `doctor domain` do. The password of another account than the service account is used once.
"""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import ca_of, may_configure
from certwright.console.domain_desk import DomainDesk, DomainWriter
from certwright.console.pages.directory import base, frame
from certwright.console.rooms import CaStanding, rooms
from certwright.directory.active_directory.doctor import Check, Verdict
from certwright.directory.active_directory.publication import (
    Action,
    Difference,
    ObjectChange,
    Plan,
    PlanChanged,
    shown_value,
)

VERDICTS: Final = {
    Verdict.GOOD: ("ok", lazy("As it should be")),
    Verdict.NOTE: ("warning", lazy("Worth knowing")),
    Verdict.WRONG: ("down", lazy("Wrong")),
}
CHECKS: Final = {
    "account": lazy("Account"),
    "bind": lazy("Logon to the directory"),
    "clock": lazy("Clock"),
    "container": lazy("Container"),
    "dns": "DNS",
    "domain": lazy("Domain"),
    "encryption": lazy("Encryption"),
    "key version": lazy("Key version"),
    "keytab": lazy("Keytab"),
    "publication": lazy("Publication"),
    "rights": lazy("Rights"),
    "spn": "SPN",
    "tcp": "TCP",
    "template": lazy("Template"),
    "time-out": lazy("Time-out"),
    "tls": "TLS",
    "winbind": "winbind",
}
"""What was looked at, in the words of people; at the command line it is the word itself."""
ACTIONS: Final = {
    Action.ADD: ("down", lazy("Missing")),
    Action.CHANGE: ("warning", lazy("Differs")),
    Action.DELETE: ("warning", lazy("To be removed")),
}
_PUBLIC_KEY_SERVICES: Final = ",CN=Public Key Services,"


def desk() -> DomainDesk:
    """Raises:
    Http404: the installation has the embedded directory alone.
    """
    found = rooms().domain
    if found is None:
        raise Http404
    return found


def _frame(request: PageRequest, ca: CaStanding, tab: str) -> dict[str, Any]:
    return frame(request, ca, tab) | {"membership": desk().membership()}


# -- the domain ------------------------------------------------------------------------------------------------------


def overview(request: PageRequest, ca: str) -> HttpResponse:
    """The domain, the account and its keys; what is wrong follows, since it takes seconds to look."""
    standing = ca_of(request, ca)
    return answers.answer(request, "console/directory/domain.html", _frame(request, standing, ""))


@page(access.CA_SETTINGS)
def examination(request: PageRequest, ca: str) -> HttpResponse:
    """What `certwright doctor domain` says, with what to do about it; the worst first."""
    standing = ca_of(request, ca)
    checks = sorted(desk().examine(), key=lambda check: -list(Verdict).index(check.verdict))
    context = {
        "title": _("What is wrong"),
        "crumbs": [(standing.name, ""), (_("Directory"), base(standing))],
        "base": base(standing),
        "checks": [_drawn(check) for check in checks],
        "wrong": sum(check.verdict is Verdict.WRONG for check in checks),
        "checked": rooms().clock(),
    }
    return answers.answer(
        request, "console/directory/examination.html", context, rows="console/directory/checks.html"
    )


def _drawn(check: Check) -> dict[str, Any]:
    state, word = VERDICTS[check.verdict]
    return {"check": check, "name": CHECKS.get(check.name, check.name), "state": state, "word": word}


# -- publication -----------------------------------------------------------------------------------------------------


def publication(request: PageRequest, ca: str) -> HttpResponse:
    """Every object of the CA in the domain: as it is, and as it should be."""
    standing = ca_of(request, ca)
    found, plan, problem = desk(), None, ""
    try:
        plan = found.plan(standing.name)
    except AdcsError as error:  # no enterprise CA, a namesake, or no domain controller: what is known stays shown
        problem = error.message
    context = _frame(request, standing, "service") | {
        "problem": problem,
        "plan": plan,
        "objects": _objects(plan) if plan is not None else [],
        "grants": found.grants(plan) if plan is not None else (),
        "left_out": sorted(plan.left_out.items()) if plan is not None else (),
        "published": found.is_published(standing.name),
        "may_publish": may_configure(request, standing),
    }
    return answers.answer(request, "console/directory/publication.html", context)


def _objects(plan: Plan) -> list[dict[str, Any]]:
    """Every object of a plan, those that differ with their attributes."""
    changes = {change.dn: change for change in plan.changes}
    return [_object(dn, changes.get(dn)) for dn in dict.fromkeys((*plan.objects, *changes))]


def _object(dn: str, change: ObjectChange | None) -> dict[str, Any]:
    state, word = ACTIONS[change.action] if change is not None else ("ok", lazy("As it should be"))
    return {
        "dn": dn,
        "name": dn.partition(_PUBLIC_KEY_SERVICES)[0],
        "state": state,
        "word": word,
        "rows": [_row(each) for each in change.differences] if change is not None else [],
    }


def _row(difference: Difference) -> dict[str, Any]:
    def shown(values: tuple[bytes, ...]) -> list[str]:
        return [shown_value(difference.attribute, value) for value in values]

    return {
        "attribute": difference.attribute,
        "removed": shown(difference.removed),
        "added": shown(difference.added),
    }


class WriterForm(forms.Form):
    """Who writes, where it is not the service account."""

    account = forms.CharField(label=lazy("Account of the domain"), required=False, max_length=256)
    password = forms.CharField(
        label=lazy("Its password"),
        required=False,
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=lazy("Used for this once, and kept nowhere. Leave both empty to write as the service account."),
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if bool(data.get("account", "").strip()) != bool(data.get("password")):
            self.add_error(None, _("Give the account and its password, or neither."))
        return data

    @property
    def writer(self) -> DomainWriter | None:
        account = self.cleaned_data["account"].strip()
        return DomainWriter(account, self.cleaned_data["password"]) if account else None


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def publish(request: PageRequest, ca: str) -> HttpResponse:
    """Write what the domain lacks, after it was shown."""
    return _written(request, ca, removal=False)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def unpublish(request: PageRequest, ca: str) -> HttpResponse:
    """Take the CA out of the domain, after what goes was shown and the CA's name typed."""
    return _written(request, ca, removal=True)


def _written(request: PageRequest, ca: str, *, removal: bool) -> HttpResponse:
    standing, found = ca_of(request, ca), desk()
    plan = found.plan(standing.name, removal=removal)
    form = WriterForm(request.POST if request.method == "POST" else None)
    typed = not removal or request.POST.get("word", "").strip() == standing.name
    if request.method == "POST" and form.is_valid() and typed:
        try:
            found.apply(
                standing.name,
                request.viewer.requester,
                removal=removal,
                writer=form.writer,
                agreed=request.POST.get("agreed", "")[:64],
            )
        except PlanChanged as changed:
            form.add_error(None, changed.message)
        else:
            said = _("Taken back from the domain.") if removal else _("Published in the domain.")
            return answers.done(request, f"{base(standing)}service/", said)
    titles = (
        (_("Take %(name)s out of the domain?"), _("Take back"))
        if removal
        else (_("Publish %(name)s in the domain?"), _("Publish"))
    )
    context = {
        "title": titles[0] % {"name": standing.name},
        "submit": titles[1],
        "form": form,
        "agreed": plan.digest,
        "objects": [_object(change.dn, change) for change in plan.changes],
        "grants": found.grants(plan),
        "removal": removal,
        "word": standing.name,
        "back": f"{base(standing)}service/",
    }
    failed = request.method == "POST"
    return answers.dialog(request, "console/directory/publish.html", context, status=422 if failed else 200)


_AT: Final = "ca/<str:ca>/directory/"
urls = [
    path(f"{_AT}examination/", examination),
    path(f"{_AT}publish/", publish),
    path(f"{_AT}unpublish/", unpublish),
]
