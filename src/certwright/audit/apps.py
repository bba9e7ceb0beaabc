"""The audit trail as Django knows it, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "certwright.audit"
    label = "audit"
