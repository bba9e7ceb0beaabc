"""Finds the page modules: every module of this folder is one."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from pathlib import Path
from types import ModuleType


@lru_cache(maxsize=1)
def modules() -> tuple[ModuleType, ...]:
    """In the order of their names."""
    folder = Path(__file__).parent
    names = sorted(found.name for found in pkgutil.iter_modules([str(folder)]) if found.name != "finding")
    return tuple(importlib.import_module(f"certwright.console.pages.{name}") for name in names)
