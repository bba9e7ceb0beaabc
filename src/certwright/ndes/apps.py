"""NDES as Django knows it, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class NdesConfig(AppConfig):
    name = "certwright.ndes"
    label = "ndes"
