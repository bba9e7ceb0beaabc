"""Sentences that rooms below the console put together, as their source has them; `{}` is what is filled in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOMS: Final = Path(__file__).parents[2] / "src" / "certwright"
_AUDIT: Final = tuple(
    f"directory/security_audit/{name}.py" for name in ("template_risks", "authorities", "objects", "audit")
)
_SAID: Final = frozenset({"Refused", "Check", "Finding", "risk", "_of", "_sentence"})
"""What sentences are handed to."""
_NOT_FOR_PEOPLE: Final = ("Certwright enterprise policy module", "Certwright standalone policy module")


def said_by_policy_and_audit() -> set[str]:
    """What the CA's rules say of a request, and the security audit of what it finds."""
    paths = [*sorted((_ROOMS / "ca" / "policy").glob("*.py")), *(_ROOMS / name for name in _AUDIT)]
    return {text for path in paths for text in _sentences(ast.parse(path.read_text()))} - set(_NOT_FOR_PEOPLE)


def said_by_administration() -> set[str]:
    """What a CA refuses its officers."""
    tree = ast.parse((_ROOMS / "ca" / "administration.py").read_text())
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {
        text
        for call in raised
        if isinstance(call, ast.Call)
        for argument in call.args[:1]
        for text in _texts(argument)
        if " " in text
    }


def _sentences(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in _SAID:
                found = [*node.args, *(each.value for each in node.keywords)]
        elif isinstance(node, ast.Return | ast.Assign) and isinstance(node.value, ast.expr):
            found = [node.value]
        for each in found:
            for part in each.elts if isinstance(each, ast.Tuple) else [each]:
                yield from (text for text in _texts(part) if " " in text.strip() and len(text) > 12)


def _texts(node: ast.expr) -> list[str]:
    """A text in each of its alternatives."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [before + after for before in _texts(left) for after in _texts(right)]
        case ast.IfExp(body=body, orelse=other):
            return _texts(body) + _texts(other)
    return []
