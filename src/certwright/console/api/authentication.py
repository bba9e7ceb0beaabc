"""Who asks: a token in the header Authorization (RFC 6750), or the browser's own session with its CSRF token.

`Guard` stands before each operation: it knows the caller, scope, roles, the query's names and the body's size before
anything of the request is read. A session is for scripts of our own pages on the same host; where it would change
something it needs the CSRF token, and it never does what pages ask a password for again.
"""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest
from ninja.utils import check_csrf

from certwright.adcs.errors import HResult
from certwright.console import accounts
from certwright.console.access import Viewer
from certwright.console.api.permissions import TOKENS_ONLY, Permission
from certwright.console.api.problems import Fault, Refused
from certwright.console.sign_in import peer_of

MAX_BODY: Final = 1 << 20
"""Octets of a JSON body. Uploads go as far as the listener lets them: 10 MiB."""
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_REALM: Final = 'Bearer realm="certwright"'


class ApiRequest(HttpRequest):
    """The request as an operation gets it."""

    viewer: Viewer


class Guard:
    """Lets one operation's callers through.

    Args:
        takes: the media type of its body; empty where it has none.
    """

    def __init__(self, permission: Permission, takes: str) -> None:
        self.permission = permission
        self.parameters: frozenset[str] = frozenset()  # that the query may have
        self._takes = takes

    def __call__(self, request: HttpRequest) -> Viewer:
        viewer = self._viewer(request)
        self._check_permission(viewer)
        self._check_request(request)
        request.viewer = viewer  # type: ignore[attr-defined]
        return viewer

    def _viewer(self, request: HttpRequest) -> Viewer:
        given = request.headers.get("Authorization")
        if given is not None:
            scheme, _, token = given.partition(" ")
            viewer = accounts.viewer_of_token(token.strip(), peer_of(request)) if scheme.lower() == "bearer" else None
            if viewer is None:
                raise Refused(
                    401,
                    "The token is none of this installation, has ended, or its account may not sign in any more.",
                    result=HResult.E_ACCESSDENIED,
                    headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
                )
            return viewer
        signed_in: Viewer | None = getattr(request, "viewer", None)
        if signed_in is None:
            raise Refused(
                401,
                "Nobody is signed in.",
                result=HResult.E_ACCESSDENIED,
                headers={"WWW-Authenticate": _REALM},
            )
        if request.method not in _SAFE and check_csrf(request) is not None:
            raise Refused(
                403,
                "A session changes something only with the CSRF token of its page.",
                "Send it in the header X-CSRFToken, or use a token.",
                result=HResult.E_ACCESSDENIED,
            )
        return signed_in

    def _check_permission(self, viewer: Viewer) -> None:
        scope, roles = self.permission.scope, self.permission.roles
        held = viewer.scopes if viewer.scopes is not None else frozenset(accounts.SCOPES) - TOKENS_ONLY
        if scope and scope not in held:
            raise Refused(
                403,
                f"This needs a token with the scope {scope}.",
                "Make a token with this scope in the account settings of the console.",
                result=HResult.E_ACCESSDENIED,
                headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{scope}"'},
            )
        if not viewer.is_any(roles):
            named = ", ".join(sorted(role.value for role in roles))
            raise Refused(
                403, f"{viewer.account} holds none of the roles for this: {named}.", result=HResult.E_ACCESSDENIED
            )

    def _check_request(self, request: HttpRequest) -> None:
        unknown = sorted(request.GET.keys() - self.parameters)
        if unknown:
            known = ", ".join(sorted(self.parameters)) or "none"
            faults = [
                Fault(where=f"query.{name[:80]}", what=f"there is no such parameter; there are {known}")
                for name in unknown
            ]
            raise Refused(422, "A parameter of the query is unknown here.", errors=faults)
        sent = request.content_type or ""
        if self._takes and sent != self._takes and request.META.get("CONTENT_LENGTH") not in (None, "", "0"):
            raise Refused(415, f"The body is {sent[:80] or 'of no type'}, and not {self._takes}.")
        length = request.META.get("CONTENT_LENGTH") or "0"
        if self._takes != "multipart/form-data" and (not length.isdecimal() or int(length) > MAX_BODY):
            raise Refused(413, f"The body is larger than {MAX_BODY >> 20} MiB.")
