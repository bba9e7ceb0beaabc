"""Strangers' text in the messages of the policy modules."""

from __future__ import annotations

from typing import Final

MAX_SHOWN: Final = 80


def shown(text: str) -> str:
    """Text out of a request as it may stand in a message: short, printable, without quotation marks."""
    printable = "".join(c if c.isprintable() and c not in '"<>' else "?" for c in text[: MAX_SHOWN + 1])
    return printable if len(printable) <= MAX_SHOWN else printable[:MAX_SHOWN] + "..."
