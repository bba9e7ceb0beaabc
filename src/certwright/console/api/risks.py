"""Accepting risks: what would let somebody escalate is refused unless it is named, with the reason, by a token that
was made for that."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, model_validator

from certwright.adcs.errors import HResult
from certwright.console.access import Viewer
from certwright.console.api.problems import Refused
from certwright.console.api.shapes import Entered, line

SCOPE: Final = "override"


class Accepting(Entered):
    """Risks that are accepted by name. Leave both members out to accept none."""

    accept_risks: Annotated[
        tuple[Annotated[str, line(32, least=1)], ...],
        Field(max_length=20, description="Each by its name, as in ESC1; needs a token with the scope override"),
    ] = ()
    reason: Annotated[str, line(500), Field(description="Why they are accepted, for the audit trail")] = ""

    @model_validator(mode="after")
    def _with_a_reason(self) -> Accepting:
        if self.accept_risks and not self.reason.strip():
            raise ValueError("a risk is accepted with a reason only")
        return self

    def demand_scope(self, viewer: Viewer) -> None:
        """Raises:
        Refused: risks are accepted, by a token or a session that is not made for it.
        """
        if self.accept_risks and SCOPE not in (viewer.scopes or ()):
            raise Refused(
                403,
                f"Accepting a risk needs a token with the scope {SCOPE}.",
                "Make a token with this scope in the account settings of the console.",
                result=HResult.E_ACCESSDENIED,
            )
