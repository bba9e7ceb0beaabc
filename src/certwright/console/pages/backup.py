"""Backup: the whole installation as one encrypted file, for backup operators to take away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, Final

from django import forms
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.adcs.events import AuditEvent
from certwright.console import answers, clock
from certwright.console.access import PageRequest, Role, page, reauthenticated
from certwright.console.rooms import rooms

SHORTEST: Final = 12
"""Characters of the password: `keystores.encrypted_stream.SHORTEST_PASSWORD`."""
_CHUNK: Final = 1 << 18
_FORM: Final = "console/adcs_accounts/form_page.html"


class _PasswordForm(forms.Form):
    password = forms.CharField(
        label=lazy("Password of the backup"),
        min_length=SHORTEST,
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=lazy("Without it nobody opens the file, and nobody can bring it back."),
    )
    again = forms.CharField(
        label=lazy("Once more"),
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("password") and data.get("again") and data["password"] != data["again"]:
            raise forms.ValidationError(_("The two passwords differ."))
        return data


@page({Role.BACKUP_OPERATOR}, methods=("GET", "POST"))
@reauthenticated
def backup(request: PageRequest) -> HttpResponseBase:
    """Make a backup and hand it over."""
    form = _PasswordForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            file = rooms().backup(form.cleaned_data["password"], request.viewer.requester)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return handed_over(file)
    return _shown(request, form)


def handed_over(file: IO[bytes]) -> StreamingHttpResponse:
    """The file as a download, piece by piece."""
    response = StreamingHttpResponse(_pieces(file), content_type="application/octet-stream")
    name = f"certwright-{rooms().clock():%Y-%m-%d-%H%M}.cwb"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_CHUNK):
            yield piece


def _shown(request: PageRequest, form: forms.Form) -> HttpResponse:
    last = next(iter(rooms().audit.events(event=AuditEvent.BACKUP_COMPLETED, limit=1)), None)
    text = _("The database as it is now, every key that is here, settings and audit trail, encrypted in one file.")
    if last is not None:
        said = _("The last one was made on %(day)s by %(account)s.")
        text = f"{text} {said % {'day': clock.day(last.when), 'account': last.actor}}"
    context = {"title": _("Back up"), "form": form, "text": text, "submit": _("Make the backup"), "back": "/"}
    return answers.invalid(request, _FORM, context) if form.errors else answers.answer(request, _FORM, context)


urls = [path("backup/", backup)]
