"""Accounts: the AD CS services that orders go to, how they are, and what they offer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.connectors.http import CONNECT_TIMEOUT
from certwright.connectors.probing import Outcome, ProbeStep
from certwright.connectors.probing import Step as ProbedStep
from certwright.connectors.server_certificate import ServerCertificate
from certwright.connectors.service import AuthScheme, ServiceAddress
from certwright.connectors.trust import look_at
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.dashboard import Step
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.menu import Badge
from certwright.console.pages.events import Event
from certwright.console.rooms import rooms
from certwright.console.states import STATES
from certwright.console.templatetags.cw import copy, cw_time
from certwright.manager.values import Service, ServiceFields, ServiceKind, TrustKind, Via

_HERE: Final = "/adcs/accounts/"
_FORM: Final = "console/adcs_accounts/form.html"
MAX_PINNED: Final = 512 * 1024

AUTH_WORDS: Final = {
    AuthScheme.NTLM: "NTLM",
    AuthScheme.KERBEROS: "Kerberos",
    AuthScheme.BASIC: lazy("Basic (the password itself is sent)"),
}
KIND_WORDS: Final = {
    ServiceKind.CERTSRV: lazy("AD CS of another server"),
    ServiceKind.LOCAL: lazy("A CA of this installation"),
}
VIA_WORDS: Final = {
    Via.AUTO: lazy("CES where it is, else /certsrv"),
    Via.CES: lazy("Enrollment web services (CES)"),
    Via.CERTSRV: lazy("Web enrollment (/certsrv)"),
}
TRUST_WORDS: Final = {
    TrustKind.SYSTEM: lazy("System store"),
    TrustKind.PINNED: lazy("Pinned CA file"),
    TrustKind.FINGERPRINT: lazy("Fingerprint, shown and accepted"),
}
STEP_WORDS: Final = {
    ProbedStep.DNS: lazy("Name"),
    ProbedStep.TCP: lazy("Connection"),
    ProbedStep.TLS: lazy("TLS trust"),
    ProbedStep.AUTHENTICATION: lazy("Logon"),
    ProbedStep.CHANNEL_BINDING: lazy("Channel binding"),
    ProbedStep.CEP: lazy("Policies (CEP)"),
    ProbedStep.CES: lazy("Enrollment (CES)"),
    ProbedStep.PAGE: lazy("Pages"),
    ProbedStep.CA_NAME: lazy("CA"),
    ProbedStep.TEMPLATES: lazy("Templates"),
}
_FINDINGS: Final = {Outcome.OK: "pass", Outcome.FAILED: "stop", Outcome.SKIPPED: "info"}

COLUMNS: Final = (
    Column("domain", lazy("Domain Name"), css="cw-tight"),
    Column("hostname", lazy("Hostname"), css="cw-lead"),
    Column("username", lazy("Username"), css="cw-tight"),
    Column("port", lazy("Port"), css="cw-tight cw-num"),
    Column("priority", lazy("Priority"), css="cw-tight cw-num"),
    Column("templates", lazy("Templates"), css="cw-tight cw-num"),
    Column("health", lazy("Health"), css="cw-why cw-mark-s"),
    Column("auth", lazy("Auth Method"), css="cw-tight", off=True),
    Column("ca", lazy("CA"), css="cw-tight", off=True),
    Column("ca_not_after", lazy("CA expires"), css="cw-tight", off=True),
    Column("last_contact", lazy("Last contact"), css="cw-tight", off=True),
    Column("trust", lazy("Trust"), css="cw-tight", off=True),
)


@page(access.AUTOMATION)
def accounts(request: PageRequest) -> HttpResponse:
    """Every service, by domain in the order in which they are asked."""
    services = rooms().manager.services
    domains = [(domain, domain) for domain in services.domains()]
    listing = Listing.read(
        request,
        "adcs-accounts",
        COLUMNS,
        sort="domain",
        search=lazy("Domain, host name, username, CA"),
        filters=[Filter("domain", _("Domain Name"), _("All domains"), domains)],
    )
    found = [_row(service) for service in services.list(listing.value("domain") or None)]
    in_memory(listing, found, searched=("domain", "hostname", "username", "ca"))
    context = {
        "title": _("Accounts"),
        "crumbs": [(_("Certificate Authorities (CA)"), ""), (_("ADCS"), "")],
        "listing": listing,
        "may_change": request.viewer.may(Role.ADMINISTRATOR),
    }
    return answers.answer(request, "console/adcs_accounts/list.html", context, rows="console/adcs_accounts/rows.html")


def _row(service: Service) -> dict[str, Any]:
    return {
        "id": service.id,
        "domain": service.domain,
        "hostname": service.hostname,
        "username": service.username,
        "port": service.port,
        "priority": service.priority,
        "templates": service.template_count,
        "health": service.health.value,
        "last_error": service.last_error,
        "auth": str(AUTH_WORDS[service.auth_method]),
        "ca": service.ca_name or service.ca,
        "ca_not_after": service.ca_not_after,
        "last_contact": service.last_contact,
        "trust": str(TRUST_WORDS[service.trust]),
    }


@page(access.AUTOMATION)
def show(request: PageRequest, service_id: int) -> HttpResponse:
    """One service: what is known of it, and the templates it offers."""
    return _service(request, service_id)


def _service(request: PageRequest, service_id: int, steps: list[dict[str, Any]] | None = None) -> HttpResponse:
    from certwright.pki.certificate import CertificateView

    services = rooms().manager.services
    service = services.get(service_id)
    context = {
        "title": service.hostname,
        "crumbs": [(_("Certificate Authorities (CA)"), ""), (_("ADCS"), ""), (_("Accounts"), _HERE)],
        "service": service,
        "facts": [
            (_("Domain Name"), service.domain),
            (_("Kind"), KIND_WORDS[service.kind]),
            *([(_("Reached by"), VIA_WORDS[service.via])] if service.kind is ServiceKind.CERTSRV else []),
            (_("Port"), str(service.port)),
            (_("Priority"), service.priority),
            (_("Username"), service.username),
            (_("Auth Method"), AUTH_WORDS[service.auth_method]),
            (_("Trust"), TRUST_WORDS[service.trust]),
            (_("CA"), service.ca_name or service.ca),
            *([(_("Approved by itself"), ", ".join(service.approve_templates))] if service.approve_templates else []),
            (_("Last contact"), cw_time(service.last_contact)),
            (_("CA expires"), cw_time(service.ca_not_after, "date")),
        ],
        "templates": services.templates(service_id),
        "chain": [CertificateView.parse(der) for der in reversed(services.chain(service_id))],
        "steps": steps or [],
        "service_id": service_id,
        "may_change": request.viewer.may(Role.ADMINISTRATOR),
    }
    return answers.answer(request, "console/adcs_accounts/service.html", context)


class ServiceForm(forms.Form):
    """A service as people enter it."""

    kind = forms.ChoiceField(label=lazy("Kind"), choices=[(kind.value, words) for kind, words in KIND_WORDS.items()])
    via = forms.ChoiceField(
        label=lazy("Reached by"),
        required=False,
        choices=[(each.value, words) for each, words in VIA_WORDS.items()],
        help_text=lazy("Which role service of that server takes the orders."),
    )
    domain = forms.CharField(label=lazy("Domain Name"), max_length=255)
    hostname = forms.CharField(
        label=lazy("Hostname"), max_length=255, help_text=lazy("The server's DNS name, as its certificate has it.")
    )
    device_user = forms.TypedChoiceField(
        label=lazy("Username"), coerce=int, help_text=lazy("From Automation, Device Users.")
    )
    port = forms.IntegerField(label=lazy("Port"), min_value=1, max_value=65535, initial=443)
    priority = forms.IntegerField(
        label=lazy("Priority"), min_value=1, max_value=10, initial=1, help_text=lazy("1 to 10; the lower goes first.")
    )
    auth_method = forms.ChoiceField(
        label=lazy("Auth Method"), choices=[(each.value, words) for each, words in AUTH_WORDS.items()]
    )
    trust = forms.ChoiceField(
        label=lazy("TLS trust"),
        choices=[(each.value, words) for each, words in TRUST_WORDS.items()],
        help_text=lazy("Whom to believe that it is this server. It is always verified."),
    )
    ca_file = forms.FileField(
        label=lazy("CA file (PEM)"), required=False, help_text=lazy("Only its certificates are trusted.")
    )
    fingerprint = forms.CharField(
        label=lazy("Fingerprint (SHA-256)"),
        required=False,
        max_length=128,
        help_text=lazy("Leave it empty to be shown the server's certificate before it is trusted."),
    )
    ca = forms.CharField(
        label=lazy("CA of this installation"),
        required=False,
        max_length=255,
        help_text=lazy("Its name; empty for the issuing one. Only for a CA of this installation."),
    )
    approve = forms.CharField(
        label=lazy("Approve by itself"),
        required=False,
        max_length=2000,
        help_text=lazy("Templates, separated by commas: their pending orders are approved at once, where we may."),
    )

    def __init__(self, *args: Any, pinned: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pinned = pinned
        self.fields["device_user"].choices = device_user_choices()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        file = data.get("ca_file")
        if file and file.size > MAX_PINNED:
            self.add_error("ca_file", _("The file is too large; at most 512 KiB are taken."))
        elif data.get("trust") == TrustKind.PINNED and not file and not self._pinned:
            self.add_error("ca_file", _("Choose the file with the CA certificates to trust."))
        return data

    @property
    def with_system_trust(self) -> ServiceFields:
        """As `values`, where no fingerprint is known yet."""
        self.cleaned_data["trust"] = TrustKind.SYSTEM.value
        return self.values

    @property
    def values(self) -> ServiceFields:
        data = self.cleaned_data
        trust = TrustKind(data["trust"])
        trust_data = ""
        if trust is TrustKind.PINNED:
            file = data["ca_file"]
            trust_data = file.read(MAX_PINNED).decode("utf-8", "replace") if file else self._pinned
        elif trust is TrustKind.FINGERPRINT:
            trust_data = data["fingerprint"]
        return ServiceFields(
            domain=data["domain"],
            hostname=data["hostname"],
            device_user_id=data["device_user"],
            port=data["port"],
            priority=data["priority"],
            auth_method=AuthScheme(data["auth_method"]),
            kind=ServiceKind(data["kind"]),
            via=Via(data["via"] or Via.AUTO),
            trust=trust,
            trust_data=trust_data,
            ca=data["ca"],
            approve_templates=tuple(name for part in data["approve"].split(",") if (name := part.strip())),
        )


def device_user_choices() -> list[tuple[int, str]]:
    return [(user.id, f"{user.name} ({user.username})") for user in rooms().manager.device_users.list()]


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def add(request: PageRequest) -> HttpResponse:
    """Add New ADCS Service; it is read at once, and what goes wrong there is shown beside it."""
    form = ServiceForm(request.POST, request.FILES) if request.method == "POST" else ServiceForm()
    seen: ServerCertificate | None = None
    if form.is_bound and form.is_valid():
        try:
            seen = _to_be_accepted(form)
            if seen is None:
                service = rooms().manager.services.add(form.values, actor=request.viewer.account)
                return _refreshed(request, service.id)
        except AdcsError as error:
            form.add_error(None, error.message)
    return _shown(request, form, _("Add New ADCS Service"), _("Add service"), _HERE, seen)


def _to_be_accepted(form: ServiceForm) -> ServerCertificate | None:
    """The certificate of a server that is to be trusted by a fingerprint nobody has seen yet.

    Raises:
        CaUnreachable: it shows none.
    """
    data = form.cleaned_data
    if data["kind"] != ServiceKind.CERTSRV or data["trust"] != TrustKind.FINGERPRINT or data["fingerprint"].strip():
        return None
    return look_at(ServiceAddress(data["hostname"].strip(), data["port"]), CONNECT_TIMEOUT)


@page({Role.ADMINISTRATOR}, methods=("POST",))
def try_out(request: PageRequest) -> HttpResponse:
    """Test a service before it is added: what the form says, step by step."""
    form = ServiceForm(request.POST, request.FILES)
    steps: list[dict[str, Any]] = []
    problem = ""
    if form.is_valid():
        data = form.cleaned_data
        values = form.values if data["trust"] != TrustKind.FINGERPRINT or data["fingerprint"] else None
        try:
            if values is None:  # no fingerprint yet: Test shows it, as it shows one that is not trusted
                values = replace(form.with_system_trust, trust=TrustKind.SYSTEM)
            steps = _steps(rooms().manager.services.test_fields(values))
        except AdcsError as error:
            problem = error.message
    else:
        problem = " ".join(str(error) for errors in form.errors.values() for error in errors)
    return render(request, "console/adcs_accounts/steps.html", {"steps": steps, "problem": problem})


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def edit(request: PageRequest, service_id: int) -> HttpResponse:
    """Change a service."""
    services = rooms().manager.services
    service: Service = services.get(service_id)
    pinned = service.trust_data if service.trust is TrustKind.PINNED else ""
    initial = {
        "kind": service.kind.value,
        "via": service.via.value,
        "domain": service.domain,
        "hostname": service.hostname,
        "device_user": service.device_user_id,
        "port": service.port,
        "priority": service.priority,
        "auth_method": service.auth_method.value,
        "trust": service.trust.value,
        "fingerprint": service.trust_data if service.trust is TrustKind.FINGERPRINT else "",
        "ca": service.ca,
        "approve": ", ".join(service.approve_templates),
    }
    bound = (request.POST, request.FILES) if request.method == "POST" else ()
    form = ServiceForm(*bound, initial=initial, pinned=pinned)
    if form.is_bound and form.is_valid():
        try:
            services.edit(service_id, form.values, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(
                request, f"{_HERE}{service_id}/", _("Service changed: %(name)s") % {"name": service.label}
            )
    return _shown(request, form, service.hostname, _("Save"), f"{_HERE}{service_id}/")


def _shown(
    request: PageRequest,
    form: forms.Form,
    title: str,
    submit: str,
    back: str,
    seen: ServerCertificate | None = None,
) -> HttpResponse:
    context = {
        "title": title,
        "crumbs": [(_("Certificate Authorities (CA)"), ""), (_("ADCS"), ""), (_("Accounts"), _HERE)],
        "form": form,
        "submit": submit,
        "back": back,
        "seen": seen,
        "seen_facts": _seen(seen) if seen is not None else [],
        "is_new": back == _HERE,
    }
    return answers.answer(request, _FORM, context, status=422 if form.errors else 200)


def _seen(certificate: ServerCertificate) -> list[tuple[Any, Any]]:
    return [
        (_("Subject"), certificate.subject),
        (_("SAN"), ", ".join(certificate.names)),
        (_("Issuer"), certificate.issuer),
        (_("Not After"), f"{certificate.not_after:%Y-%m-%d}"),
        (_("Fingerprint (SHA-256)"), copy(certificate.sha256, _("fingerprint"), "hex")),
    ]


@page({Role.ADMINISTRATOR}, methods=("POST",))
def refresh(request: PageRequest, service_id: int) -> HttpResponse:
    """Read CA, chain and templates anew."""
    return _refreshed(request, service_id)


def _refreshed(request: PageRequest, service_id: int) -> HttpResponse:
    """What a refresh found, or in words what was in its way; the page shows the service either way."""
    return answers.done(request, f"{_HERE}{service_id}/", read_anew(request, service_id))


def read_anew(request: PageRequest, service_id: int) -> str:
    """Refresh a service; what came out, in words."""
    try:
        return str(rooms().manager.services.refresh(service_id, actor=request.viewer.account))
    except AdcsError as error:
        return error.message


@page({Role.ADMINISTRATOR}, methods=("POST",))
def test(request: PageRequest, service_id: int) -> HttpResponse:
    """Every step on the way, to the first that fails."""
    steps = _steps(rooms().manager.services.test(service_id))
    if request.htmx:
        context = {"steps": steps, "service_id": service_id}
        return render(request, "console/adcs_accounts/steps.html", context)
    return _service(request, service_id, steps)


def _steps(found: Sequence[ProbeStep]) -> list[dict[str, Any]]:
    """Each step that was taken; those behind the first failure in one line."""
    failed = any(step.outcome is Outcome.FAILED for step in found)
    left_out = [step for step in found if failed and step.outcome is Outcome.SKIPPED]
    steps = [_step(step) for step in found if step not in left_out]
    if left_out:
        words = ", ".join(str(STEP_WORDS[step.step]) for step in left_out)
        steps.append({"kind": "info", "sentence": _("Not tried: %(steps)s") % {"steps": words}})
    return steps


def _step(step: ProbeStep) -> dict[str, Any]:
    return {
        "kind": _FINDINGS[step.outcome],
        "sentence": f"{STEP_WORDS[step.step]}: {step.sentence}",
        "fix": step.fix,
        "fingerprint": step.seen.sha256 if step.seen is not None else "",
        "acceptable": step.step is ProbedStep.TLS and step.outcome is Outcome.FAILED,
    }


@page({Role.ADMINISTRATOR}, methods=("POST",))
def trust(request: PageRequest, service_id: int) -> HttpResponse:
    """Trust the certificate whose fingerprint Test showed."""
    services = rooms().manager.services
    service: Service = services.get(service_id)
    fields = replace(
        service.fields, trust=TrustKind.FINGERPRINT, trust_data=request.POST.get("fingerprint", "")[:128]
    )
    services.edit(service_id, fields, actor=request.viewer.account)
    return _refreshed(request, service_id)


class DeleteForm(forms.Form):
    word = forms.CharField(label=lazy("The host name, to confirm"), required=False, max_length=255)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def delete(request: PageRequest, service_id: int) -> HttpResponse:
    """Remove a service; where orders wait at it, its host name has to be typed."""
    services = rooms().manager.services
    service: Service = services.get(service_id)
    form = DeleteForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        confirmed = form.cleaned_data["word"].strip().casefold() == service.hostname.casefold()
        try:
            services.delete(service_id, confirmed=confirmed, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error("word", error.message)
        else:
            return answers.done(request, _HERE, _("Service deleted: %(name)s") % {"name": service.label})
    context = {
        "title": _("Delete %(name)s?") % {"name": service.hostname},
        "text": _(
            "Orders that wait at it are no longer tracked; where there are any, type the host name to confirm."
        ),
        "form": form,
        "submit": _("Delete service"),
        "back": _HERE,
    }
    return answers.dialog(request, "console/ca/act.html", context, status=422 if form.errors else 200)


def _first_service(viewer: Viewer) -> Step | None:
    """Row 3 of the checklist: first a device user, then a service in its name."""
    if not viewer.may(Role.ADMINISTRATOR):
        return None
    has_user = bool(rooms().manager.device_users.list())
    return Step(
        _("Add a device user and an AD CS service, or use this CA"),
        _("A device user orders certificates; a service says where. The CA of this installation can be one."),
        done=bool(rooms().manager.services.list()),
        act=_("Add New ADCS Service") if has_user else _("Add device user"),
        href=f"{_HERE}add/" if has_user else "/device-users/add/",
        second=(_("Use this CA"), f"{_HERE}use-this-ca/"),
    )


def _events(viewer: Viewer) -> Iterable[Event]:
    """Services that do not answer."""
    if not viewer.is_any(access.AUTOMATION):
        return
    for service in rooms().manager.services.list():
        if service.last_error and service.last_error_when is not None:
            href = f"{_HERE}{service.id}/"
            yield Event(service.last_error_when, STATES["down"], service.label, service.last_error, href)


def _badge(viewer: Viewer) -> Badge:
    down = sum(bool(service.last_error) for service in rooms().manager.services.list())
    return Badge(down, "red", _("not answering"))


badges = {_HERE: _badge}
recent_events = [_events]
first_run_steps = {3: _first_service}

urls = [
    path("adcs/accounts/", accounts),
    path("adcs/accounts/add/", add),
    path("adcs/accounts/test/", try_out),
    path("adcs/accounts/<int:service_id>/", show),
    path("adcs/accounts/<int:service_id>/edit/", edit),
    path("adcs/accounts/<int:service_id>/refresh/", refresh),
    path("adcs/accounts/<int:service_id>/test/", test),
    path("adcs/accounts/<int:service_id>/trust/", trust),
    path("adcs/accounts/<int:service_id>/delete/", delete),
]
