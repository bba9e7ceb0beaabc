"""The watch as Django knows it, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class LocationWatchConfig(AppConfig):
    name = "certwright.location_watch"
    label = "location_watch"
