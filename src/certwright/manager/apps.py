"""The manager as Django knows it, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class ManagerConfig(AppConfig):
    name = "certwright.manager"
    label = "manager"
