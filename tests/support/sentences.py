"""Sentences that rooms below the console put together, as their source has them; `{}` is what is filled in."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_ROOMS: Final = Path(__file__).parents[2] / "src" / "certwright"
_AUDIT: Final = (
    *(f"directory/security_audit/{name}.py" for name in ("template_risks", "authorities", "objects", "audit")),
    "directory/security_audit/over_ldap.py",
    "server/security_audit.py",
)
_CONDITIONS: Final = "directory/security_audit/findings.py"
_DOCTOR: Final = ("directory/active_directory/doctor.py", "server/domain_doctor.py")
_SAID: Final = frozenset({"Refused", "Check", "Finding", "risk", "_of", "_sentence", "PkiObject", "append"})
"""What sentences are handed to."""
_LEFT_OUT: Final = ("server/domain_publication.py", "_first_templates")
"""Where it is said why a template is not published in a domain at first."""
_CHECKS: Final = frozenset({"Check", "_good", "_note", "_wrong"})
"""What the doctor hands his to: after what was looked at."""
_COMMANDS: Final = ("ca-file (", "setspn -", "certwright template ", "ktpass ", "CN=")
"""What is typed or looked for, and the same in every language."""
_NOT_FOR_PEOPLE: Final = ("Certwright enterprise policy module", "Certwright standalone policy module")


def said_by_policy_and_audit() -> set[str]:
    """What the CA's rules say of a request, and the security audit of what it finds."""
    paths = [*sorted((_ROOMS / "ca" / "policy").glob("*.py")), *(_ROOMS / name for name in _AUDIT)]
    found = {text for path in paths for text in _sentences(ast.parse(path.read_text()), _SAID)}
    conditions = ast.parse((_ROOMS / _CONDITIONS).read_text())
    for each in conditions.body:
        if isinstance(each, ast.ClassDef) and each.name in ("Cause", "Condition"):
            found |= set(_sentences(each, _SAID))
    return found - set(_NOT_FOR_PEOPLE)


def said_by_the_doctor() -> set[str]:
    """What `doctor domain` finds, and what it says is to be done."""
    found = {text for name in _DOCTOR for text in _sentences(ast.parse((_ROOMS / name).read_text()), _CHECKS)}
    file, function = _LEFT_OUT
    for node in ast.walk(ast.parse((_ROOMS / file).read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            found |= set(_sentences(node, _CHECKS))
    return {text for text in found if text != "certwright domain publish" and not text.startswith(_COMMANDS)}


def said_by_administration() -> set[str]:
    """What a CA refuses its officers."""
    trees = [ast.parse((_ROOMS / "ca" / name).read_text()) for name in ("administration.py", "settings_changes.py")]
    raised = [node.exc for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {
        text
        for call in raised
        if isinstance(call, ast.Call)
        for argument in call.args[:1]
        for text in _texts(argument)
        if " " in text
    }


def _sentences(tree: ast.AST, functions: Collection[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in functions:
                found = [*node.args, *(each.value for each in node.keywords)]
        elif isinstance(node, ast.Return | ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.expr):
            found = [node.value]
        for each in found:
            for part in _parts(each):
                yield from (text for text in _texts(part) if _is_sentence(text))


def _parts(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.Tuple(elts=parts):
            return parts
        case ast.Dict(values=parts):
            return parts
    return [node]


def _is_sentence(text: str) -> bool:
    return " " in text.strip() and len(text) > 11


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
        case ast.BoolOp(values=parts):
            return [text for part in parts for text in _texts(part)]
    return []
