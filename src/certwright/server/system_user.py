"""Who gives this process's commands, as the operating system knows it. For the audit trail.

Names come from the kernel's numbers and the user database, never from the environment, which a caller can set.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Final

_UNSET: Final = 2**32 - 1
"""The login user of a process that nobody logged in for, such as a service."""


def system_user(login: Path = Path("/proc/self/loginuid")) -> str:
    """The user of this process; and whoever logged in, where that is somebody else: `root, logged in as alice`.

    Args:
        login: where the kernel tells the user of the login, which `su` and `sudo` do not change.
    """
    user = os.getuid()
    with suppress(OSError, ValueError):
        logged_in = int(login.read_text("ascii"))
        if logged_in not in (_UNSET, user):
            return f"{_name(user)}, logged in as {_name(logged_in)}"
    return _name(user)


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a user without a name, as in some containers
        return f"uid {user}"
