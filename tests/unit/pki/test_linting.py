"""pkilint's word on a certificate, and what is said where it is not installed."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509

from certwright.pki import linting
from certwright.pki.errors import EncodingError
from certwright.pki.linting import LinterMissing, Severity, lint_certificate
from tests.support.certificates import make_certificate


def test_findings_come_the_worst_first() -> None:
    pytest.importorskip("pkilint", reason="pkilint is not installed (pip install 'certwright[lint]')")
    bad = make_certificate(extensions=[(x509.KeyUsage(*[False] * 5, True, True, False, False), False)])
    found = lint_certificate(bad)
    assert found, "a certificate without key identifiers that may sign certificates and is no CA"
    assert [each.severity for each in found] == sorted(each.severity for each in found)
    assert found[0].severity is Severity.ERROR
    assert all(each.code and each.where for each in found)


def test_without_pkilint_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *options: Any) -> ModuleType:
        if name.startswith("pkilint"):
            raise ModuleNotFoundError(name)
        return importlib.import_module(name, *options)

    monkeypatch.setattr(linting, "import_module", missing)
    with pytest.raises(LinterMissing):
        lint_certificate(make_certificate())
    assert "certwright[lint]" in linting.INSTALL


def test_a_certificate_that_is_too_large_is_not_handed_over() -> None:
    with pytest.raises(EncodingError, match="not linted"):
        lint_certificate(b"\x30" * (linting.MAX_CERTIFICATE + 1))


def test_what_it_cannot_read_is_an_error_of_its_own() -> None:
    pytest.importorskip("pkilint", reason="pkilint is not installed (pip install 'certwright[lint]')")
    with pytest.raises(EncodingError, match="cannot read"):
        lint_certificate(b"\x30\x03\x02\x01\x05")
