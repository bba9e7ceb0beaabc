"""Notifications as Django knows them, for their migrations."""

from __future__ import annotations

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "certwright.notifications"
    label = "notifications"
