"""Certwright: Active Directory Certificate Services on any platform.

One package; every folder is a room, named after the AD CS role service it is or the thing it stands on.
ARCHITECTURE.md lists them, one line each.
"""

__version__ = "0.1.0"
