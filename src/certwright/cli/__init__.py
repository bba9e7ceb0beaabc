"""The command `certwright`, one file per noun. It reads options and files, calls through the door, and prints.

Nothing heavy is imported before a command runs: `certwright --help` has to be quick.
"""

from certwright.cli.application import main

__all__ = ["main"]
