"""Signing in and out, second factors, OpenID: allauth's views at our addresses.

What allauth also has and we do not (signing up, mail addresses, resetting passwords by mail) has no address at all.
"""

from __future__ import annotations

from typing import Any

import structlog
from allauth.account import views as account_views
from allauth.account.internal.decorators import login_not_required
from allauth.mfa.base import views as mfa_views
from allauth.mfa.recovery_codes import views as recovery_views
from allauth.mfa.totp import views as totp_views
from allauth.mfa.webauthn import views as webauthn_views
from allauth.socialaccount import views as social_views
from allauth.socialaccount.providers.openid_connect import views as openid_views
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST
from requests import RequestException

from certwright.console.access import public
from certwright.console.rooms import rooms
from certwright.console.sign_in import MAX_SAID

log = structlog.get_logger(__name__)


@login_not_required  # type: ignore[untyped-decorator]
def nothing_here(request: HttpRequest, **_: Any) -> HttpResponseBase:
    """For names that allauth's code reverses and nobody may visit."""
    raise Http404


class SignIn(account_views.LoginView):  # type: ignore[misc]
    """Name and password; the OpenID provider beside them when there is one."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "openid": rooms().openid, "hostname": rooms().hostname}


@login_not_required  # type: ignore[untyped-decorator]
def openid_login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """To the provider, once it was asked where; where it does not answer, that is said instead."""
    try:
        response: HttpResponseBase = openid_views.login(request, provider_id)
    except (RequestException, ValueError) as error:  # ValueError: what came is no JSON
        log.warning("openid_provider_unreachable", provider=provider_id, error=str(error)[:MAX_SAID])
        return render(request, "socialaccount/unreachable.html", {"openid": rooms().openid}, status=503)
    return response


urls = [
    path("sign-in/", public(SignIn.as_view()), name="account_login"),
    path("sign-out/", public(require_POST(account_views.logout)), name="account_logout"),
    path("sign-in/second-factor/", public(mfa_views.authenticate), name="mfa_authenticate"),
    path("sign-in/confirm/", public(account_views.reauthenticate), name="account_reauthenticate"),
    path("sign-in/confirm/code/", public(mfa_views.reauthenticate), name="mfa_reauthenticate"),
    path("sign-in/confirm/key/", public(webauthn_views.reauthenticate_webauthn), name="mfa_reauthenticate_webauthn"),
    path("sign-in/inactive/", public(account_views.account_inactive), name="account_inactive"),
    path("sign-in/with/<provider_id>/", public(openid_login), name="openid_connect_login"),
    path("sign-in/with/<provider_id>/callback/", public(openid_views.callback), name="openid_connect_callback"),
    path("sign-in/cancelled/", public(social_views.login_cancelled), name="socialaccount_login_cancelled"),
    path("sign-in/failed/", public(social_views.login_error), name="socialaccount_login_error"),
    path("account/second-factor/", public(mfa_views.index), name="mfa_index"),
    path("account/second-factor/app/", public(totp_views.activate_totp), name="mfa_activate_totp"),
    path("account/second-factor/app/remove/", public(totp_views.deactivate_totp), name="mfa_deactivate_totp"),
    path("account/second-factor/keys/", public(webauthn_views.list_webauthn), name="mfa_list_webauthn"),
    path("account/second-factor/keys/add/", public(webauthn_views.add_webauthn), name="mfa_add_webauthn"),
    path("account/second-factor/keys/<int:pk>/", public(webauthn_views.edit_webauthn), name="mfa_edit_webauthn"),
    path(
        "account/second-factor/keys/<int:pk>/remove/",
        public(webauthn_views.remove_webauthn),
        name="mfa_remove_webauthn",
    ),
    path("account/second-factor/codes/", public(recovery_views.view_recovery_codes), name="mfa_view_recovery_codes"),
    path(
        "account/second-factor/codes/new/",
        public(recovery_views.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "account/second-factor/codes/download/",
        public(recovery_views.download_recovery_codes),
        name="mfa_download_recovery_codes",
    ),
    path("sign-in/nothing/signup/", public(nothing_here), name="account_signup"),
    path("sign-in/nothing/social/", public(nothing_here), name="socialaccount_signup"),
    path("sign-in/nothing/connections/", public(nothing_here), name="socialaccount_connections"),
    path("sign-in/nothing/email/", public(nothing_here), name="account_email"),
    path("sign-in/nothing/password/", public(nothing_here), name="account_change_password"),
    path("sign-in/nothing/reset/", public(nothing_here), name="account_reset_password"),
    path("sign-in/nothing/set/", public(nothing_here), name="account_set_password"),
]
"""`public` only in that our decorator does not ask: allauth's views ask for a signed-in account themselves."""
