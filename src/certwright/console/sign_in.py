"""Signing in: what allauth asks about accounts, passwords and second factors, answered by our rooms.

A local account's name wins over a directory account's; `DOMAIN\\name` and `name@domain` always mean the directory.
Every failed attempt counts in the same throttle as those at /certsrv.
"""

from __future__ import annotations

import base64
import ssl
from typing import Any, Final
from urllib.parse import quote

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AnonymousUser
from django.forms import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.console import accounts
from certwright.console.models import Account
from certwright.console.rooms import SignInRefused, rooms

log = structlog.get_logger(__name__)

SECOND_FACTOR: Final = "console/second-factor"
"""What sealed TOTP and recovery secrets are bound to."""
MAX_SAID: Final = 300
"""How much of what a provider says goes to the log."""
_CHANGES: Final = {
    "mfa/email/totp_activated": "authenticator app added",
    "mfa/email/totp_deactivated": "authenticator app removed",
    "mfa/email/recovery_codes_generated": "recovery codes made",
    "mfa/email/webauthn_added": "security key added",
    "mfa/email/webauthn_removed": "security key removed",
}


def shown_name(account: Account) -> str:
    return str(account.display_name or account.username)


def peer_of(request: HttpRequest) -> str:
    """The client's address, as the listener saw it."""
    return str(request.META.get("REMOTE_ADDR", ""))


class Passwords(BaseBackend):
    """Local accounts and those of the embedded directory, by name and password."""

    def authenticate(
        self, request: HttpRequest | None, username: str = "", password: str = "", **_: Any
    ) -> Account | None:
        if request is None or not username or not password or "\0" in username + password:
            return None
        local = Account.objects.filter(kind=Account.Kind.LOCAL, username__iexact=username).first()
        try:
            if local is not None:
                return _check_local(local, password, peer_of(request))
            principal = rooms().check_password(username, password, peer_of(request))
        except SignInRefused as refused:
            request.cw_retry_after = refused.retry_after  # type: ignore[attr-defined]
            return None
        return accounts.of_principal(principal)

    def get_user(self, user_id: int) -> Account | None:
        return Account.objects.filter(pk=user_id, is_active=True).first()


def _check_local(account: Account, password: str, peer: str) -> Account:
    throttle, key = rooms().throttle, f"console\\{account.username.casefold()}"
    wait = throttle.wait(key, peer)
    if wait > 0:
        raise SignInRefused(wait)
    usable = account.is_active and account.has_usable_password()
    if not check_password(password, account.password if usable else make_password(None)) or not usable:
        throttle.failed(key, peer)
        raise SignInRefused
    throttle.succeeded(key, peer)
    return account


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth's questions about accounts."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return peer_of(request)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Account | None:
        account: Account | None = super().authenticate(request, **credentials)
        wait = getattr(request, "cw_retry_after", 0.0)
        if account is None and wait > 0:
            raise ValidationError(
                _("Too many attempts failed. Wait %(seconds)s seconds, then try again.") % {"seconds": int(wait) + 1}
            )
        return account

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        known = accounts.known_name(str(credentials.get("username", "")))
        log.warning("console_sign_in_refused", account=known or None, peer=peer_of(request))
        if known and not getattr(request, "cw_retry_after", 0.0):
            _record(AuditEvent.CONSOLE_SIGN_IN_REFUSED, known, {"peer": peer_of(request)})

    def login(self, request: HttpRequest, user: Account) -> None:
        super().login(request, user)
        accounts.begin_session(request, user, peer_of(request))

    def post_login(self, request: HttpRequest, user: Account, **hook: Any) -> HttpResponse:
        methods = [str(record.get("type") or record.get("method")) for record in _methods(request)]
        log.info("console_signed_in", account=user.username, methods=methods, peer=peer_of(request))
        _record(
            AuditEvent.CONSOLE_SIGNED_IN, user.username, {"peer": peer_of(request), "methods": ", ".join(methods)}
        )
        response: HttpResponse = super().post_login(request, user, **hook)
        return response

    def logout(self, request: HttpRequest) -> None:
        user = request.user
        if not isinstance(user, AnonymousUser):
            accounts.end_session(request.session.session_key or "")
            _record(AuditEvent.CONSOLE_SIGNED_OUT, user.get_username(), {"peer": peer_of(request)})
        super().logout(request)

    def add_message(self, *_: Any, **__: Any) -> None:
        """Nobody needs to be told that they signed in."""

    def send_notification_mail(self, template_prefix: str, user: Account, *_: Any, **__: Any) -> None:
        """allauth would tell the account's owner by mail; here the audit trail is told."""
        change = _CHANGES.get(template_prefix)
        if change:
            _record(AuditEvent.SECOND_FACTOR_CHANGED, user.username, {"account": user.username, "change": change})


def _methods(request: HttpRequest) -> list[dict[str, Any]]:
    from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY

    found: list[dict[str, Any]] = request.session.get(AUTHENTICATION_METHODS_SESSION_KEY, [])
    return found


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """allauth's questions about second factors: their secrets are sealed with the installation's master key."""

    def encrypt(self, text: str) -> str:
        return base64.b64encode(rooms().sealer.seal(text.encode(), SECOND_FACTOR)).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return rooms().sealer.open(base64.b64decode(encrypted_text), SECOND_FACTOR).decode()

    def _get_site_name(self) -> str:
        return f"Certwright {rooms().hostname}"

    def get_totp_issuer(self) -> str:
        return self._get_site_name()


class OpenIdAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """An OpenID provider's accounts: known after their first sign-in, without a role until they are given one."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return True

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """A mail address tells nobody apart here: the same person may have an account in the directory, too."""
        sociallogin.email_addresses = []

    def get_requests_session(self) -> Any:
        """Whoever this system trusts may certify the provider: a company's own CA, too."""
        session = super().get_requests_session()
        system = ssl.get_default_verify_paths()
        session.verify = system.cafile or system.capath or True
        return session

    def on_authentication_error(self, request: HttpRequest, provider: Any, *_: Any, **said: Any) -> None:
        """The person is told that it did not work; the log, why."""
        reason = str(said.get("exception") or said.get("error") or "")[:MAX_SAID]
        log.warning("openid_sign_in_refused", reason=reason, peer=peer_of(request))

    def new_user(self, request: HttpRequest, sociallogin: Any) -> Account:
        return Account(kind=Account.Kind.OPENID, created=rooms().clock())

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: dict[str, Any]) -> Account:
        account: Account = sociallogin.user
        name = str(data.get("username") or data.get("email") or sociallogin.account.uid)
        account.username = accounts.unused_name(f"{sociallogin.account.provider}\\{quote(name, safe='@ ')[:200]}")
        account.display_name = str(data.get("name") or "")[:128]
        account.email = str(data.get("email") or "")[:254]
        return account

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> Account:
        account: Account = sociallogin.user
        account.set_unusable_password()
        sociallogin.save(request)
        _record(
            AuditEvent.CONSOLE_ACCOUNT_CHANGED,
            account.username,
            {"account": account.username, "change": "added at the first sign-in with an OpenID provider"},
        )
        return account


def _record(event: AuditEvent, actor: str, details: dict[str, str | int]) -> None:
    rooms().record(CaEvent(event, rooms().clock(), "", actor, details))
