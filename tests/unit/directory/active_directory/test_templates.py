"""pKICertificateTemplate and back. [MS-CRTD] 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, NameFlag
from certwright.directory.active_directory.ldap import Entry
from certwright.directory.active_directory.templates import template_from_entry, template_to_attributes
from certwright.directory.default_templates import default_templates
from tests.support.fake_directory import DOMAIN_SID, make_template

DEFAULTS = default_templates(DOMAIN_SID, "1.2.3.4.5.6")


def _entry(template: CertificateTemplate, **changes: Any) -> Entry:
    attributes: Mapping[str, Any] = {
        **template_to_attributes(template, DOMAIN_SID),
        "objectClass": (b"top", b"pKICertificateTemplate"),
        "whenCreated": (b"20261125220000.0Z",),
        "uSNChanged": (b"4711",),
        **{name.replace("_", "-"): values for name, values in changes.items()},
    }
    return Entry.of(f"CN={template.cn}", {name: values for name, values in attributes.items() if values})


def _rights(sddl: str) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(sddl, DOMAIN_SID)


@pytest.mark.parametrize("template", DEFAULTS, ids=lambda template: template.cn)
def test_default_template_survives_the_directory(template: CertificateTemplate) -> None:
    found = template_from_entry(_entry(template))
    assert replace(found, security_descriptor="") == replace(template, security_descriptor="")
    assert _rights(found.security_descriptor) == _rights(template.security_descriptor)
    assert template_to_attributes(found, DOMAIN_SID) == template_to_attributes(template, DOMAIN_SID)


def test_numbers_are_signed_as_the_directory_stores_them() -> None:
    template = make_template(name_flag=NameFlag.REQUIRE_DIRECTORY_PATH | NameFlag.ALT_REQUIRE_UPN)
    assert template_to_attributes(template, DOMAIN_SID)["msPKI-Certificate-Name-Flag"] == (b"-2113929216",)
    assert template_from_entry(_entry(template)).name_flag == template.name_flag


def test_names_of_attributes_have_no_case() -> None:
    entry = _entry(make_template())
    shouted = Entry.of(entry.dn, {name.upper(): values for name, values in entry.attributes.items()})
    assert template_from_entry(shouted) == template_from_entry(entry)


def test_what_is_not_understood_is_kept_octet_by_octet() -> None:
    more = {
        "msPKI-Template-Minor-Revisionx": ("almost a known name",),
        "userCertificate": (b"\x30\x00\xff", b"\x30\x01"),
        "description": ("für später",),
    }
    entry = _entry(make_template(), **more)
    found = template_from_entry(entry)
    written = template_to_attributes(found, DOMAIN_SID)
    assert {name: written[name] for name in more} == {name: entry.values(name) for name in more}
    assert not {"objectClass", "whenCreated", "uSNChanged"} & written.keys()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nTSecurityDescriptor": ()}, "nTSecurityDescriptor cannot be read"),
        ({"nTSecurityDescriptor": (b"\1\0",)}, "nTSecurityDescriptor: a security descriptor cannot have 2 bytes"),
        ({"flags": ("seven",)}, "flags is no number"),
        ({"flags": ("1", "2")}, "flags has 2 values"),
        ({"flags": ("99999999999",)}, "flags has to be a number of 32 bits"),
        ({"msPKI_Private_Key_Flag": ()}, "has no msPKI-Private-Key-Flag"),
        ({"pKIExpirationPeriod": (b"\0",)}, "pKIExpirationPeriod"),
        ({"displayName": (b"\xff",)}, "displayName is not UTF-8 text"),
        ({"msPKI_Cert_Template_OID": ()}, "msPKI-Cert-Template-OID is missing"),
    ],
)
def test_broken_attribute_is_named(changes: dict[str, Any], reason: str) -> None:
    """Nothing that decides about a certificate is made up for a template that does not say it."""
    with pytest.raises(ValueError, match=reason):
        template_from_entry(_entry(make_template(), **changes))
