"""Which template a request is for. [MS-WCCE] 3.2.2.6.2.1.4.1, 3.2.2.6.2.1.4.2."""

from __future__ import annotations

import pytest

from certwright.adcs.errors import HResult
from certwright.adcs.request import template_attributes
from certwright.adcs.template import (
    NameRule,
    NameRules,
)
from certwright.ca.policy.base import Deny, Issue
from certwright.ca.policy.enterprise import EnterprisePolicy
from tests.support import requests as make
from tests.support.deciding import (
    ask,
    denied,
    directory_template,
    make_facts,
    published_also,
    verdict_on,
)
from tests.support.fake_directory import (
    make_template,
)

# -- which template --------------------------------------------------------------------------------------------------


def test_request_that_names_no_template_is_denied() -> None:
    """CERTSRV_E_NO_CERT_TYPE 0x80094801."""
    verdict = EnterprisePolicy().verify(ask(), make_facts(directory_template()))

    denied(verdict, HResult.CERTSRV_E_NO_CERT_TYPE, "template_named")
    assert isinstance(verdict, Deny)
    assert verdict.template == ""


@pytest.mark.parametrize("name", ["Nonesuch", "Hidden", "<script>"])
def test_template_that_is_not_published_here_is_not_supported(name: str) -> None:
    """CERTSRV_E_UNSUPPORTED_CERT_TYPE 0x80094800, whether it exists or not."""
    facts = published_also(make_facts(directory_template()), [make_template("Hidden")])

    verdict = EnterprisePolicy().verify(ask(attributes=template_attributes(name)), facts)

    denied(
        verdict,
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
        "template_published",
        "template that is not supported by the",
    )
    assert isinstance(verdict, Deny)
    assert "<" not in verdict.reason


def test_display_name_is_answered_with_the_name_on_the_wire() -> None:
    facts = make_facts(make_template("WebServer", display_name="Web Server"))

    verdict = EnterprisePolicy().verify(ask(attributes=template_attributes("Web Server")), facts)

    denied(verdict, HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE, "template_published", "is called WebServer")


def test_two_different_templates_are_a_conflict() -> None:
    """CERTSRV_E_TEMPLATE_CONFLICT 0x80094802."""
    raw = make.web_server_request(extensions=[make.template_name_extension("Other")])
    facts = make_facts(directory_template(), make_template("Other"))

    verdict = EnterprisePolicy().verify(ask(raw, attributes=template_attributes("Template")), facts)

    denied(verdict, HResult.CERTSRV_E_TEMPLATE_CONFLICT, "templates_agree", "attributes", "extension 20.2")


def test_name_and_oid_of_one_template_are_no_conflict() -> None:
    wanted = directory_template()
    raw = make.make_request(
        extensions=[make.template_name_extension("TEMPLATE"), make.template_extension(wanted.oid, 100, 2)]
    )

    assert isinstance(verdict_on(wanted, raw), Issue)


@pytest.mark.parametrize(
    ("schema", "asked", "allowed"),
    [
        (2, (100, 2), True),
        (2, (100, 1), True),
        (2, (99, 9), True),
        (2, (None, None), True),
        (2, (100, None), True),
        (2, (100, 3), False),
        (2, (101, 0), False),
        (4, (101, None), False),
        (1, (101, 0), True),
    ],
)
def test_version_newer_than_ours_is_refused(schema: int, asked: tuple[int | None, int | None], allowed: bool) -> None:
    """CERTSRV_E_BAD_TEMPLATE_VERSION 0x80094807; schema 1 has no versions. [MS-WCCE] 3.2.2.6.2.1.4.2."""
    wanted = directory_template(schema_version=schema)

    verdict = verdict_on(wanted, make.make_request(extensions=[make.template_extension(wanted.oid, *asked)]))

    if allowed:
        assert isinstance(verdict, Issue)
    else:
        denied(verdict, HResult.CERTSRV_E_BAD_TEMPLATE_VERSION, "template_version", "100.2")


def test_template_that_cannot_be_read_is_not_supported() -> None:
    """A template somebody broke by hand refuses; it must not stop the issuer."""
    for broken in (
        directory_template(security_descriptor="rubbish"),
        directory_template(name_rules=NameRules((NameRule(ip_ranges=("10.0.0.1/8",)),))),
    ):
        denied(verdict_on(broken), HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE, "template_published", "cannot be used")
