"""The console's tables, as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "certwright.console"
    label = "console"
    default_auto_field = "django.db.models.BigAutoField"
