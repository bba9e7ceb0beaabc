"""Exit modules: told after the fact, cannot change the outcome. [MS-WCCE] 3.2.1.4.2.1.4.9."""

from __future__ import annotations

from typing import Protocol

from certwright.adcs.events import CaEvent


class ExitModule(Protocol):
    @property
    def description(self) -> str: ...

    def notify(self, event: CaEvent) -> None:
        """Called after the commit, outside the transaction; an error is logged and changes nothing."""
