# mypy: disable-error-code="var-annotated"
"""The console's own tables: who may sign in, what they may do here, what they chose, where they are signed in.

Rights on a CA are not here: they stand in the CA's security descriptor and are checked inside the CA. Times are
aware datetimes, as everywhere in Django. Fields and constraints; behaviour is in `console.accounts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

if TYPE_CHECKING:
    from django_stubs_ext.db.models.manager import RelatedManager


class AccountManager(BaseUserManager["Account"]):
    """What Django's and allauth's code asks a user model's manager for."""


class Account(AbstractBaseUser):
    """Somebody who may sign in: a local account of the console, one of the directory, or one of an OpenID provider.

    A directory account gets its row at the first sign-in; its password, groups and whether it is enabled stay in the
    directory and are asked there for every request.
    """

    class Kind(models.TextChoices):
        LOCAL = "local"
        DIRECTORY = "directory"
        OPENID = "openid"

    username = models.CharField(max_length=256, unique=True)  # DOMAIN\name of a directory account
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.LOCAL)
    sid = models.CharField(max_length=184, default="", blank=True)  # of a directory account
    display_name = models.CharField(max_length=128, default="", blank=True)
    email = models.EmailField(default="", blank=True)
    is_active = models.BooleanField(default=True)
    roles = models.JSONField(default=list)  # roles of the console, by their names
    may_export_keys = models.BooleanField(default=False)
    preferences = models.JSONField(default=dict)
    created = models.DateTimeField()

    if TYPE_CHECKING:
        sign_ins: RelatedManager[SignIn]
        tokens: RelatedManager[ApiToken]
        authenticator_set: RelatedManager[Any]  # second factors: allauth's

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[AccountManager] = AccountManager()

    class Meta:
        db_table = "console_account"
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["sid"], condition=~models.Q(sid=""), name="console_account_sid"),
        ]

    def has_usable_password(self) -> bool:
        """Can the account prove itself with a password? Of a directory account the directory checks it."""
        return self.kind == self.Kind.DIRECTORY or (self.kind == self.Kind.LOCAL and super().has_usable_password())


class SignIn(models.Model):
    """One session of an account. Without its row a session is over, whatever its cookie says."""

    session_key = models.CharField(max_length=40, unique=True)
    if TYPE_CHECKING:
        account_id: int
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="sign_ins")
    peer = models.CharField(max_length=64)
    browser = models.CharField(max_length=256)
    started = models.DateTimeField()
    seen = models.DateTimeField()

    class Meta:
        db_table = "console_sign_in"


class ApiToken(models.Model):
    """A key to the REST interface. The token itself is shown once; what is kept is its SHA-256."""

    if TYPE_CHECKING:
        account_id: int
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=64)
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.BinaryField(max_length=32)
    scopes = models.JSONField(default=list)
    created = models.DateTimeField()
    expires = models.DateTimeField(null=True)
    used = models.DateTimeField(null=True)

    class Meta:
        db_table = "console_api_token"


class SavedView(models.Model):
    """A query that somebody named: filters, sort and columns of one page."""

    if TYPE_CHECKING:
        account_id: int
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="views")
    page = models.CharField(max_length=64)  # path of the page
    name = models.CharField(max_length=64)
    query = models.CharField(max_length=2000)
    shared = models.BooleanField(default=False)

    class Meta:
        db_table = "console_saved_view"
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["account", "page", "name"], name="console_saved_view_name"),
        ]
