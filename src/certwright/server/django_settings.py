"""Django's settings, as far as every installation has the same ones. Importing this imports Django.

They are put in place once in a process, by whoever needs Django first: the schema, for migrations, or the console.
What belongs to one installation (database, secret key, host names) is set by `server.console` when it is opened.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import django
from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

from certwright.server.tables import LIBRARIES, ROOMS

_WITHOUT_TABLES: Final = (
    "django.contrib.messages",
    "allauth",
    "allauth.socialaccount.providers.openid_connect",
    "django_htmx",
)

MIDDLEWARE: Final = (
    "certwright.console.middleware.Frame",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "certwright.console.middleware.Language",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "certwright.console.middleware.SignedIn",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
)

ACCOUNTS: Final[dict[str, Any]] = {
    "AUTH_USER_MODEL": "console.Account",
    "AUTHENTICATION_BACKENDS": ("certwright.console.sign_in.Passwords",),
    "AUTH_PASSWORD_VALIDATORS": [
        {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
        {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
        {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    ],
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.Argon2PasswordHasher"],
    "LOGIN_URL": "account_login",
    "LOGIN_REDIRECT_URL": "/",
    "LOGOUT_REDIRECT_URL": "/sign-in/",
    "ACCOUNT_ADAPTER": "certwright.console.sign_in.Adapter",
    "ACCOUNT_LOGIN_METHODS": {"username"},
    "ACCOUNT_SIGNUP_FIELDS": ["username*", "password1*"],
    "ACCOUNT_EMAIL_VERIFICATION": "none",
    "ACCOUNT_EMAIL_NOTIFICATIONS": False,
    "ACCOUNT_PREVENT_ENUMERATION": True,
    "ACCOUNT_RATE_LIMITS": {"login": False, "login_failed": False, "reauthenticate": False},  # auth.throttle does it
    "ACCOUNT_REAUTHENTICATION_TIMEOUT": 300,
    "ACCOUNT_REAUTHENTICATION_REQUIRED": True,
    "ACCOUNT_SESSION_REMEMBER": False,
    "ACCOUNT_LOGOUT_ON_GET": False,
    "ACCOUNT_USERNAME_MIN_LENGTH": 1,
    "ACCOUNT_USER_DISPLAY": "certwright.console.sign_in.shown_name",
    "SOCIALACCOUNT_ADAPTER": "certwright.console.sign_in.OpenIdAdapter",
    "SOCIALACCOUNT_AUTO_SIGNUP": True,
    "SOCIALACCOUNT_EMAIL_AUTHENTICATION": False,
    "SOCIALACCOUNT_STORE_TOKENS": False,
    "SOCIALACCOUNT_LOGIN_ON_GET": False,
    "MFA_ADAPTER": "certwright.console.sign_in.SecondFactorAdapter",
    "MFA_SUPPORTED_TYPES": ["totp", "webauthn", "recovery_codes"],
    "MFA_TOTP_TOLERANCE": 1,  # a phone whose clock is half a minute off
    "MFA_PASSKEY_LOGIN_ENABLED": False,
    "MFA_ALLOW_UNVERIFIED_EMAIL": True,
}

COOKIES: Final[dict[str, Any]] = {
    "SESSION_ENGINE": "django.contrib.sessions.backends.db",
    "SESSION_COOKIE_NAME": "__Host-certwright-session",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",  # an OpenID provider sends the browser back with GET
    "SESSION_COOKIE_AGE": 12 * 3600,
    "SESSION_EXPIRE_AT_BROWSER_CLOSE": True,
    "CSRF_COOKIE_NAME": "__Host-certwright-csrf",
    "CSRF_COOKIE_SECURE": True,
    "CSRF_COOKIE_HTTPONLY": True,
    "CSRF_COOKIE_SAMESITE": "Strict",
    "CSRF_FAILURE_VIEW": "certwright.console.pages.errors.csrf_failed",
    "LANGUAGE_COOKIE_NAME": "__Host-certwright-language",
    "LANGUAGE_COOKIE_SECURE": True,
    "LANGUAGE_COOKIE_SAMESITE": "Lax",
    "MESSAGE_STORAGE": "django.contrib.messages.storage.session.SessionStorage",
}

REQUESTS: Final[dict[str, Any]] = {
    "DATA_UPLOAD_MAX_MEMORY_SIZE": 10 << 20,
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": 5000,
    "DATA_UPLOAD_MAX_NUMBER_FILES": 200,
    "FILE_UPLOAD_MAX_MEMORY_SIZE": 10 << 20,  # never a file on disk: uploads may hold private keys
    "FILE_UPLOAD_HANDLERS": ["django.core.files.uploadhandler.MemoryFileUploadHandler"],
}


def configure() -> None:
    """Put the settings in place and load the applications, unless that has happened in this process."""
    if not settings.configured:
        settings.configure(
            DEBUG=False,
            SECRET_KEY="",
            ALLOWED_HOSTS=[],
            INSTALLED_APPS=[*ROOMS, *LIBRARIES, *_WITHOUT_TABLES],
            MIDDLEWARE=list(MIDDLEWARE),
            ROOT_URLCONF="certwright.console.urls",
            TEMPLATES=[_TEMPLATES],
            DATABASES={DEFAULT_DB_ALIAS: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
            USE_TZ=True,
            TIME_ZONE="UTC",
            USE_I18N=True,
            LANGUAGE_CODE="en",
            LANGUAGES=[("en", "English"), ("tr", "Türkçe")],
            LOGGING_CONFIG=None,
            EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
            STATIC_URL="/static/",
            APPEND_SLASH=True,
            X_FRAME_OPTIONS="DENY",
            **ACCOUNTS,
            **COOKIES,
            **REQUESTS,
        )
    if not apps.ready:
        django.setup()
    logging.getLogger("django.request").setLevel(logging.CRITICAL)  # console.middleware logs faults, once


_TEMPLATES: Final[dict[str, Any]] = {
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {
        "context_processors": ["certwright.console.context.frame"],
        "builtins": ["django.templatetags.i18n", "django.templatetags.static", "certwright.console.templatetags.cw"],
    },
}
