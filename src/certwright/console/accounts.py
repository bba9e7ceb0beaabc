"""Accounts of the console: their roles, sessions and API tokens. Every change is audited by the name of who made it.

The one place, with `sign_in`, that changes the console's tables.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AccessDenied, InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Sid
from certwright.console.access import CONSOLE_ROLES, Role, Viewer, viewer_of
from certwright.console.models import Account, ApiToken, SignIn
from certwright.console.rooms import rooms
from certwright.directory.base import Principal

IDLE: Final = timedelta(minutes=30)
"""A session that asked for nothing for so long is over."""
SEEN_EVERY: Final = timedelta(minutes=1)
"""How exactly that is measured; written so seldom that looking at pages costs no transaction."""
TOKEN_PREFIX: Final = "cw_"  # noqa: S105 - what every token begins with
MAX_TOKENS: Final = 50

SCOPES: Final = {
    "read": lazy("read what the account may see"),
    "orders": lazy("place, fetch and delete orders"),
    "inventory": lazy("import, tag, renew and delete certificates"),
    "ca": lazy("act on a CA: issue, deny, revoke, publish"),
    "settings": lazy("change services, rules, templates and settings"),
    "access": lazy("administer accounts, passwords, roles and tokens"),
    "keys": lazy("export private keys, where the account may; make and renew CAs"),
    "override": lazy("change templates in spite of risks"),
}
"""What an API token may be good for. Never more than its account may."""


# -- accounts ----------------------------------------------------------------------------------------------------


def of_principal(principal: Principal) -> Account:
    """The row of a directory account, made or brought up to date."""
    account, _made = Account.objects.get_or_create(
        sid=principal.sid,
        defaults={
            "kind": Account.Kind.DIRECTORY,
            "username": unused_name(principal.account),
            "created": rooms().clock(),
            "password": "!",
        },
    )
    display = principal.common_name[:128]
    if (account.username, account.display_name, account.email) != (principal.account, display, principal.mail):
        taken = Account.objects.filter(username=principal.account).exclude(pk=account.pk).exists()
        account.username = account.username if taken else principal.account
        account.display_name, account.email = display, principal.mail[:254]
        account.save(update_fields=["username", "display_name", "email"])
    return account


def known_name(name: str) -> str:
    """The account that somebody tried to be; empty when there is none: a password typed here is kept nowhere."""
    local = Account.objects.filter(kind=Account.Kind.LOCAL, username__iexact=name).first()
    if local is not None:
        return str(local.username)
    principal = rooms().directory.principal(name) if name else None
    return principal.account if principal is not None else ""


def unused_name(name: str) -> str:
    taken = set(Account.objects.filter(username__startswith=name).values_list("username", flat=True))
    candidates = (name if number == 1 else f"{name} ({number})" for number in range(1, len(taken) + 3))
    return next(candidate for candidate in candidates if candidate not in taken)


def add_local(
    viewer: Viewer, name: str, password: str, display_name: str = "", roles: Iterable[Role] = ()
) -> Account:
    """A local account of the console.

    Raises:
        AccessDenied: the viewer is no console administrator.
        InvalidArgument: the name is taken or cannot be one, or the password is too weak.
    """
    _demand_administrator(viewer)
    name = name.strip()
    if not name or len(name) > 64 or not name.isprintable() or set(name) & set("\\@/:"):
        raise InvalidArgument(_("A name has 1 to 64 characters and none of \\ @ / :"))
    if Account.objects.filter(username__iexact=name).exists():
        raise InvalidArgument(_("There is an account of that name already."))
    account = Account(
        username=name, kind=Account.Kind.LOCAL, display_name=display_name.strip()[:128], created=rooms().clock()
    )
    _set_password(account, password)
    account.roles = _stored(roles)
    account.save()
    _audit_account(viewer, account, "added", {"roles": ", ".join(account.roles)})
    return account


def set_password(viewer: Viewer, account: Account, password: str, *, besides: str = "") -> None:
    """Give a local account a new password and end its sessions, but the one called `besides`.

    Raises:
        AccessDenied, InvalidArgument: as `add_local`; or the account is not local.
    """
    if viewer.id != account.pk:
        _demand_administrator(viewer)
    if account.kind != Account.Kind.LOCAL:
        raise InvalidArgument(_("The password of this account is kept elsewhere."))
    _set_password(account, password)
    account.save(update_fields=["password"])
    end_sessions(account, besides)
    _audit_account(viewer, account, "password set")


def set_enabled(viewer: Viewer, account: Account, enabled: bool) -> None:
    """Let an account sign in, or not any more. Disabling ends its sessions."""
    _demand_administrator(viewer)
    if viewer.id == account.pk:
        raise InvalidArgument(_("Nobody disables their own account."))
    account.is_active = enabled
    account.save(update_fields=["is_active"])
    if not enabled:
        end_sessions(account)
    _audit_account(viewer, account, "enabled" if enabled else "disabled")


def set_roles(viewer: Viewer, account: Account, roles: Collection[Role], *, may_export_keys: bool) -> None:
    """Say what an account may do in the console. Roles on a CA are changed in CA Properties, not here.

    Raises:
        AccessDenied: the viewer is no console administrator.
        InvalidArgument: viewers do not take the administrator's role from themselves.
    """
    _demand_administrator(viewer)
    if viewer.id == account.pk and Role.ADMINISTRATOR.value in account.roles and Role.ADMINISTRATOR not in roles:
        raise InvalidArgument(_("Nobody takes the administrator's role from themselves; ask another administrator."))
    before, exported = ", ".join(account.roles), account.may_export_keys
    account.roles, account.may_export_keys = _stored(roles), may_export_keys
    account.save(update_fields=["roles", "may_export_keys"])
    _record(
        viewer,
        AuditEvent.CONSOLE_ROLES_CHANGED,
        {
            "account": account.username,
            "roles_before": before,
            "roles_after": ", ".join(account.roles),
            "key_export_before": str(exported),
            "key_export_after": str(may_export_keys),
        },
    )


def forget_second_factor(viewer: Viewer, account: Account) -> None:
    """Remove an account's second factors, because they were lost. Its sessions end."""
    from allauth.mfa.models import Authenticator

    _demand_administrator(viewer)
    Authenticator.objects.filter(user_id=account.pk).delete()
    end_sessions(account)
    change = "all removed by an administrator"
    _record(viewer, AuditEvent.SECOND_FACTOR_CHANGED, {"account": account.username, "change": change})


def set_preferences(account_id: int, changes: dict[str, Any]) -> None:
    """Remember what somebody chose: language, density, columns. Nothing of it is a right."""
    account = Account.objects.get(pk=account_id)
    account.preferences = {**account.preferences, **changes}
    account.save(update_fields=["preferences"])


def _stored(roles: Iterable[Role]) -> list[str]:
    wanted = set(roles)
    return [role.value for role in CONSOLE_ROLES if role in wanted]


def _set_password(account: Account, password: str) -> None:
    try:
        validate_password(password, account)
    except ValidationError as error:
        raise InvalidArgument(" ".join(error.messages)) from error
    account.set_password(password)


# -- sessions ----------------------------------------------------------------------------------------------------


def begin_session(request: HttpRequest, account: Account, peer: str) -> None:
    """Note a session that has just begun, and clear away those that are over."""
    if request.session.session_key is None:
        request.session.save()
    now = rooms().clock()
    end_stale_sessions(now)
    SignIn.objects.filter(session_key=request.session.session_key).delete()
    SignIn.objects.create(
        session_key=request.session.session_key,
        account=account,
        peer=peer[:64],
        browser=str(request.META.get("HTTP_USER_AGENT", ""))[:256],
        started=now,
        seen=now,
    )


def is_session_alive(session_key: str, now: datetime) -> bool:
    """Was the session begun here, not ended, and used lately? Notes that it is used."""
    sign_in = SignIn.objects.filter(session_key=session_key).only("seen").first()
    if sign_in is None:
        return False
    if now - sign_in.seen > IDLE:
        end_session(session_key)
        return False
    if now - sign_in.seen >= SEEN_EVERY:
        SignIn.objects.filter(pk=sign_in.pk).update(seen=now)
    return True


def continue_session(before: str, after: str) -> None:
    """The same session has got a new key."""
    if before != after:
        SignIn.objects.filter(session_key=before).update(session_key=after)


def end_session(session_key: str) -> None:
    Session.objects.filter(session_key=session_key).delete()
    SignIn.objects.filter(session_key=session_key).delete()


def end_sessions(account: Account, besides: str = "") -> int:
    """End an account's sessions, all or all but one; how many."""
    keys = [sign_in.session_key for sign_in in account.sign_ins.all() if sign_in.session_key != besides]
    for key in keys:
        end_session(key)
    return len(keys)


def end_stale_sessions(now: datetime) -> None:
    """Remove what is over: signing in is seldom enough to do it then."""
    stale = list(SignIn.objects.filter(seen__lt=now - IDLE).values_list("session_key", flat=True)[:500])
    if stale:
        Session.objects.filter(session_key__in=stale).delete()
        SignIn.objects.filter(session_key__in=stale).delete()
    Session.objects.filter(expire_date__lt=now).delete()


# -- API tokens --------------------------------------------------------------------------------------------------


def create_token(
    viewer: Viewer, name: str, scopes: Collection[str], expires: datetime | None
) -> tuple[ApiToken, str]:
    """A token for the viewer's own account: its row, and the text that is shown this once.

    Raises:
        InvalidArgument: no name, no scope, an unknown one, too many tokens, or it would have expired already.
    """
    name = name.strip()
    if not name or len(name) > 64:
        raise InvalidArgument(_("Name the token: what uses it, in at most 64 characters."))
    if not scopes or not set(scopes) <= SCOPES.keys():
        raise InvalidArgument(_("Choose at least one scope."))
    now = rooms().clock()
    if expires is not None and expires <= now:
        raise InvalidArgument(_("The token would have expired already."))
    if ApiToken.objects.filter(account_id=viewer.id).count() >= MAX_TOKENS:
        raise InvalidArgument(_("An account has at most %(count)s tokens.") % {"count": MAX_TOKENS})
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        account_id=viewer.id,
        name=name,
        prefix=text[:10],
        digest=_digest(text),
        scopes=sorted(scopes),
        created=now,
        expires=expires,
    )
    _record(
        viewer,
        AuditEvent.API_TOKEN_CHANGED,
        {"change": "made", "token": name, "prefix": token.prefix, "scopes": ", ".join(token.scopes)},
    )
    return token, text


def delete_token(viewer: Viewer, token_id: int) -> None:
    """End a token: one's own, or as console administrator anybody's.

    Raises:
        InvalidArgument: there is no such token.
    """
    token = ApiToken.objects.select_related("account").filter(pk=token_id).first()
    if token is None or (token.account_id != viewer.id and Role.ADMINISTRATOR not in viewer.roles):
        raise InvalidArgument(_("There is no such token."))
    token.delete()
    _record(
        viewer,
        AuditEvent.API_TOKEN_CHANGED,
        {"change": "deleted", "token": token.name, "prefix": token.prefix, "account": token.account.username},
    )


def viewer_of_token(text: str, peer: str) -> Viewer | None:
    """Whom a token speaks for, with its scopes; None when it is none, has expired, or its account may not sign in."""
    if not text.startswith(TOKEN_PREFIX) or len(text) > 100:
        return None
    token = ApiToken.objects.select_related("account").filter(prefix=text[:10]).first()
    now = rooms().clock()
    if token is None or not secrets.compare_digest(bytes(token.digest), _digest(text)):
        return None
    if token.expires is not None and token.expires <= now:
        return None
    if token.used is None or now - token.used >= SEEN_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(used=now)
    return viewer_of(token.account, peer, frozenset(token.scopes))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()  # 256 random bits need no slow hash


# -- what accounts may do, in sentences ----------------------------------------------------------------------------


def rights_in_sentences(viewer: Viewer) -> Sequence[str]:
    """What an account may do, all roles and groups taken together."""
    sentences: list[str] = []
    if Role.ADMINISTRATOR in viewer.roles:
        sentences.append(_("Administers the console: accounts, AD CS services, device users, rules."))
    if viewer.is_any({Role.OPERATOR, Role.ADMINISTRATOR}):
        sentences.append(_("Sees and works on every order and certificate of the inventory."))
    elif Role.REQUESTER in viewer.roles:
        sentences.append(_("Places orders, and sees its own orders and certificates."))
    if viewer.may_export_keys:
        sentences.append(_("Exports private keys that the console holds."))
    words = {
        Role.CA_ADMINISTRATOR: _("Administers %(ca)s: templates, settings, revocation (Manage CA)."),
        Role.CERTIFICATE_MANAGER: _("Issues, denies and revokes on %(ca)s (Issue and Manage Certificates)."),
        Role.AUDITOR: _("Reads and verifies the audit trail of %(ca)s."),
        Role.BACKUP_OPERATOR: _("Backs %(ca)s up and restores it."),
        Role.REQUESTER: _("Requests certificates from %(ca)s, as far as templates allow it."),
    }
    for role, text in words.items():
        names = [ca.name for ca in viewer.cas if viewer.on(ca, role)]
        if names:
            sentences.append(text % {"ca": get_text_list(names, _("and"))})
    sentences += [
        _("Has no role on %(ca)s: it holds two, and roles are separated (CERTSRV_E_ROLECONFLICT).") % {"ca": ca.name}
        for ca in viewer.cas
        if ca.in_conflict
    ]
    return sentences or [_("May sign in, and nothing else: it has no role yet.")]


def of_sid(sid: Sid) -> Account | None:
    return Account.objects.filter(sid=sid).first()


def _demand_administrator(viewer: Viewer) -> None:
    if Role.ADMINISTRATOR not in viewer.roles:
        raise AccessDenied(_("Only console administrators change accounts."))


def _audit_account(
    viewer: Viewer, account: Account, change: str, details: dict[str, str | int] | None = None
) -> None:
    _record(
        viewer, AuditEvent.CONSOLE_ACCOUNT_CHANGED, {"account": account.username, "change": change} | (details or {})
    )


def _record(viewer: Viewer, event: AuditEvent, details: dict[str, str | int]) -> None:
    rooms().record(CaEvent(event, rooms().clock(), "", viewer.account, details))
