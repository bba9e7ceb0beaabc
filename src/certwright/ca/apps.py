"""The CA database as Django knows it, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class CaConfig(AppConfig):
    name = "certwright.ca"
    label = "ca"
