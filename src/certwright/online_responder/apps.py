"""The Online Responder as Django knows it, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class OnlineResponderConfig(AppConfig):
    name = "certwright.online_responder"
    label = "online_responder"
