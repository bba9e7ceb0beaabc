"""What is dangerous about a certificate template, under the names by which editors and commands ask.

The rules are in `directory.security_audit.template_risks`, where the audit asks them too.
"""

from __future__ import annotations

from certwright.directory.security_audit.findings import Cause, Condition, Place, Remedy, Risk, Severity, Way
from certwright.directory.security_audit.template_risks import KNOWN_RISKS, remedied, risks

__all__ = (
    "KNOWN_RISKS",
    "Cause",
    "Condition",
    "Place",
    "Remedy",
    "Risk",
    "Severity",
    "Way",
    "remedied",
    "risks",
)
