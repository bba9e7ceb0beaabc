"""One's own settings: language, theme, density; password; sessions; API tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.contrib.auth import update_session_auth_hash
from django.http import HttpResponse
from django.urls import path
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import accounts, answers, clock
from certwright.console.access import PageRequest, page, reauthenticated
from certwright.console.listing import SIZES
from certwright.console.models import Account
from certwright.console.rooms import rooms

LANGUAGES: Final = (("", lazy("As the browser asks")), ("en", "English"), ("tr", "Türkçe"))
_LIFETIMES: Final = (
    ("30", lazy("30 days")),
    ("90", lazy("90 days")),
    ("365", lazy("1 year")),
    ("", lazy("Without end")),
)


class PreferencesForm(forms.Form):
    language = forms.ChoiceField(label=lazy("Language"), choices=LANGUAGES, required=False)
    zone = forms.ChoiceField(label=lazy("Time zone"), required=False)
    theme = forms.ChoiceField(
        label=lazy("Theme"),
        choices=(("", lazy("As in this browser")), ("light", lazy("Light")), ("dark", lazy("Dark"))),
        required=False,
    )
    density = forms.ChoiceField(
        label=lazy("Rows"), choices=(("", lazy("Comfortable")), ("compact", lazy("Compact"))), required=False
    )
    page_size = forms.TypedChoiceField(
        label=lazy("Rows on a page"), choices=[(size, size) for size in SIZES], coerce=int
    )
    shortcuts = forms.BooleanField(label=lazy("Keyboard shortcuts"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zone = self.fields["zone"]
        assert isinstance(zone, forms.ChoiceField)
        zone.choices = [(name, name) for name in clock.zones()]


@page(anybody=True, methods=("GET", "POST"))
def settings(request: PageRequest) -> HttpResponse:
    """Language, time zone, theme, density."""
    initial = {"page_size": SIZES[0], "shortcuts": True, "zone": "UTC", **request.viewer.preferences}
    form = PreferencesForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        accounts.set_preferences(request.viewer.id, form.cleaned_data)
        translation.activate(form.cleaned_data["language"] or translation.get_language_from_request(request))
        return answers.done(request, "/account/", _("Settings saved"))
    account = Account.objects.get(pk=request.viewer.id)
    context = {
        "title": _("Account settings"),
        "form": form,
        "account": account,
        "rights": accounts.rights_in_sentences(request.viewer),
        "sign_ins": account.sign_ins.order_by("-seen"),
        "current_session": request.session.session_key,
        "tokens": account.tokens.order_by("name"),
        "second_factor": account.authenticator_set.exists(),
        "is_local": account.kind == Account.Kind.LOCAL,
    }
    return answers.answer(request, "console/account.html", context, status=422 if form.errors else 200)


@page(anybody=True, methods=("POST",))
def theme(request: PageRequest) -> HttpResponse:
    """The theme switch, where the account has chosen one."""
    chosen = request.POST.get("theme")
    if chosen in ("light", "dark"):
        accounts.set_preferences(request.viewer.id, {"theme": chosen})
    return HttpResponse(status=204)


class OwnPasswordForm(forms.Form):
    password = forms.CharField(
        label=lazy("New password"),
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=lazy("At least 12 characters. Your other sessions end."),
    )


@page(anybody=True, methods=("GET", "POST"))
@reauthenticated
def own_password(request: PageRequest) -> HttpResponse:
    """A new password for one's own local account."""
    form = OwnPasswordForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        account = Account.objects.get(pk=request.viewer.id)
        key = request.session.session_key or ""
        try:
            accounts.set_password(request.viewer, account, form.cleaned_data["password"], besides=key)
        except AdcsError as error:
            form.add_error("password", error.message)
        else:
            update_session_auth_hash(request, account)
            accounts.continue_session(key, request.session.session_key or "")
            return answers.done(request, "/account/", _("Password changed"))
    context = {"title": _("Change your password"), "form": form, "submit": _("Change password"), "back": "/account/"}
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


@page(anybody=True, methods=("POST",))
def end_other_sessions(request: PageRequest) -> HttpResponse:
    """Sign out everywhere else."""
    account = Account.objects.get(pk=request.viewer.id)
    count = accounts.end_sessions(account, besides=request.session.session_key or "")
    return answers.done(request, "/account/", _("Sessions ended: %(count)s") % {"count": count})


class TokenForm(forms.Form):
    name = forms.CharField(label=lazy("What uses it"), max_length=64)
    scopes = forms.MultipleChoiceField(
        label=lazy("Good for"), choices=list(accounts.SCOPES.items()), widget=forms.CheckboxSelectMultiple
    )
    lifetime = forms.ChoiceField(label=lazy("Ends after"), choices=_LIFETIMES, required=False, initial="90")


@page(methods=("GET", "POST"))
@reauthenticated
def add_token(request: PageRequest) -> HttpResponse:
    """A token for the REST interface; its text is on this one answer and nowhere else."""
    form = TokenForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        expires = rooms().clock() + timedelta(days=int(data["lifetime"])) if data["lifetime"] else None
        token, text = accounts.create_token(request.viewer, data["name"], data["scopes"], expires)
        context = {"title": _("Your new token"), "token": token, "text": text, "back": "/account/"}
        return answers.dialog(request, "console/token.html", context)
    context = {"title": _("Make an API token"), "form": form, "submit": _("Make token"), "back": "/account/"}
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


@page(anybody=True, methods=("POST",))
def delete_token(request: PageRequest, token_id: int) -> HttpResponse:
    accounts.delete_token(request.viewer, token_id)
    after = request.POST.get("next", "")
    return answers.done(request, after if after.startswith("/people/") else "/account/", _("Token deleted"))


urls = [
    path("account/", settings),
    path("account/theme/", theme),
    path("account/password/", own_password),
    path("account/sessions/end/", end_other_sessions),
    path("account/tokens/add/", add_token),
    path("account/tokens/<int:token_id>/delete/", delete_token),
]
