"""The directory as Django knows it, for its migrations."""

from __future__ import annotations

from django.apps import AppConfig


class DirectoryConfig(AppConfig):
    name = "certwright.directory"
    label = "directory"
