"""The 33 default templates against a second transcript of the specification. [MS-CRTD] Appendix A, note <42>."""

from __future__ import annotations

import json
import struct
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from certwright.adcs.periods import encode_period
from certwright.adcs.requester import AUTHENTICATED_USERS, ENTERPRISE_DOMAIN_CONTROLLERS, Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, NameRule
from certwright.adcs.template_checks import check_template
from certwright.adcs.template_json import template_from_json, template_to_json
from certwright.directory.base import Domain
from certwright.directory.default_templates import default_templates, new_forest_arcs, published_by_default
from certwright.directory.risks import risks
from certwright.directory.well_known import Rid

DOMAIN_SID = Sid("S-1-5-21-1004336348-1177238915-682003330")
DOMAIN = Domain("corp.example", "CORP", DOMAIN_SID, "DC=corp,DC=example")
ARCS = "11034890.834619.12601478.16236816.7255827.176"
TEMPLATES = {template.cn: template for template in default_templates(DOMAIN_SID, ARCS, ("corp.example",))}
DATA: dict[str, dict[str, Any]] = {
    entry["cn"]: entry
    for entry in json.loads(
        resources.files("certwright.directory").joinpath("default_templates.json").read_text("utf-8")
    )["templates"]
}
USAGES = {
    "CTLSign": "1.3.6.1.4.1.311.10.3.1",
    "EFS": "1.3.6.1.4.1.311.10.3.4",
    "EFSRecovery": "1.3.6.1.4.1.311.10.3.4.1",
    "email": "1.3.6.1.5.5.7.3.4",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    "CAExchange": "1.3.6.1.4.1.311.21.5",
    "KRA": "1.3.6.1.4.1.311.21.6",
    "EnrollAgent": "1.3.6.1.4.1.311.20.2.1",
    "SCLogon": "1.3.6.1.4.1.311.20.2.2",
    "DSEmailRepl": "1.3.6.1.4.1.311.21.19",
    "IKEintermediate": "1.3.6.1.5.5.8.2.2",
    "KDC": "1.3.6.1.5.2.3.5",
}


class Row(NamedTuple):
    """One line of the transcript; its README names the fields."""

    cn: str
    display_name: str
    schema: str
    version: str
    tail: str
    flags: str
    name: str
    enrollment: str
    private_key: str
    key_size: str
    key_usage: str
    days: str
    usages: str


TRANSCRIPT = Path(__file__).parents[2] / "vectors" / "templates" / "default-templates.txt"
ROWS = [Row(*line.split("|")) for line in TRANSCRIPT.read_text("utf-8").splitlines() if line]


def test_there_are_33_of_them() -> None:
    assert len(ROWS) == len(DATA) == len(TEMPLATES) == 33


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cn)
def test_template_has_the_values_of_the_specification(row: Row) -> None:
    """Two transcripts of the same note, made apart from each other, agree."""
    template = TEMPLATES[row.cn.rstrip("*")]
    usages = () if row.usages == "-" else tuple(USAGES[name] for name in row.usages.split(", "))
    validity, renewal = (timedelta(days=int(days)) for days in row.days.split("/"))
    assert template.display_name == row.display_name
    assert template.schema_version == int(row.schema)
    assert f"{template.major_version}.{template.minor_version}" == row.version
    assert template.oid == f"1.3.6.1.4.1.311.21.8.{ARCS}.{row.tail}"
    assert f"{int(template.flags):x}" == row.flags
    assert f"{int(template.name_flag):x}" == row.name
    assert f"{int(template.enrollment_flag):x}" == row.enrollment
    assert f"{int(template.private_key_flag):x}" == row.private_key
    assert template.minimal_key_size == max(int(row.key_size), 2048)
    assert template.key_usage.hex() == f"{row.key_usage}00"
    assert (template.validity_period, template.renewal_period) == (validity, renewal)
    assert template.extended_key_usage == usages
    assert template.application_policies == (usages if int(row.schema) >= 2 else ())
    assert template.ra_signatures == (1 if template.cn == "CrossCA" else 0)
    assert row.cn.endswith("*") == (template.cn in published_by_default())


@pytest.mark.parametrize("cn", sorted(DATA))
def test_template_carries_every_attribute_of_the_data_file(cn: str) -> None:
    """Compared as Active Directory would return them; only what the loader is there for differs."""
    stored, document = dict(DATA[cn]), template_to_json(TEMPLATES[cn])
    assert document.pop("msPKI-Cert-Template-OID").endswith("." + stored.pop("oidTail"))
    assert document.pop("msPKI-Minimal-Key-Size") == max(stored.pop("msPKI-Minimal-Key-Size"), 2048)
    for ours in ("enroll", "autoenroll", "published"):
        stored.pop(ours)
    assert stored == {name: document[name] for name in stored}
    assert set(document) - set(stored) == {
        "nTSecurityDescriptor",
        "nameRules",
        "flagsNames",
        "msPKI-Enrollment-FlagNames",
        "msPKI-Private-Key-FlagNames",
        "msPKI-Certificate-Name-FlagNames",
        "pKIExpirationPeriodText",
        "pKIOverlapPeriodText",
        "pKIKeyUsageNames",
    }


@pytest.mark.parametrize("cn", sorted(DATA))
def test_stored_periods_are_negative_counts_of_100_nanoseconds(cn: str) -> None:
    """[MS-CRTD] 2.11, 2.15: eight octets, little-endian."""
    for attribute, period in (
        ("pKIExpirationPeriod", TEMPLATES[cn].validity_period),
        ("pKIOverlapPeriod", TEMPLATES[cn].renewal_period),
    ):
        (ticks,) = struct.unpack("<q", bytes.fromhex(DATA[cn][attribute]))
        assert ticks == -period.days * 864_000_000_000
        assert encode_period(period).hex() == DATA[cn][attribute]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda t: t.cn)
def test_template_survives_a_round_trip_and_makes_sense(template: CertificateTemplate) -> None:
    check_template(template)
    assert template_from_json(template_to_json(template)) == template


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda t: t.cn)
def test_stock_template_has_no_risk(template: CertificateTemplate) -> None:
    assert risks(template, DOMAIN) == ()


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda t: t.cn)
def test_administrators_hold_and_authenticated_users_read_every_template(template: CertificateTemplate) -> None:
    """Stock forests: owner Enterprise Admins; nobody gets AutoEnroll with his full control."""
    security = SecurityDescriptor.from_sddl(template.security_descriptor, DOMAIN_SID)
    admins = {Rid.DOMAIN_ADMINS.in_domain(DOMAIN_SID), Rid.ENTERPRISE_ADMINS.in_domain(DOMAIN_SID)}
    read, write = 0x20014, 0xF0028  # RC, LC, RP; the standard rights, WP, SW
    assert security.owner == Rid.ENTERPRISE_ADMINS.in_domain(DOMAIN_SID)
    assert security.write_sids() == admins
    assert security.sids_with(write) == admins
    assert security.sids_with(read) == admins | {AUTHENTICATED_USERS}
    assert admins <= security.enroll_sids()
    assert not admins & security.autoenroll_sids()


@pytest.mark.parametrize(
    ("cn", "enroll", "autoenroll"),
    [
        ("User", {Rid.DOMAIN_USERS}, set()),
        ("Machine", {Rid.DOMAIN_COMPUTERS}, set()),
        ("IPSECIntermediateOnline", {Rid.DOMAIN_COMPUTERS, Rid.DOMAIN_CONTROLLERS}, set()),
        ("RASAndIASServer", {Rid.RAS_AND_IAS_SERVERS}, set()),
        ("WebServer", set(), set()),
        ("SubCA", set(), set()),
        (
            "KerberosAuthentication",
            {Rid.DOMAIN_CONTROLLERS, Rid.ENTERPRISE_READ_ONLY_DOMAIN_CONTROLLERS},
            {Rid.DOMAIN_CONTROLLERS, Rid.ENTERPRISE_READ_ONLY_DOMAIN_CONTROLLERS},
        ),
    ],
)
def test_only_the_usual_groups_enroll_beside_the_administrators(
    cn: str, enroll: set[Rid], autoenroll: set[Rid]
) -> None:
    security = SecurityDescriptor.from_sddl(TEMPLATES[cn].security_descriptor, DOMAIN_SID)
    also = {ENTERPRISE_DOMAIN_CONTROLLERS} if autoenroll else set()
    admins = {Rid.DOMAIN_ADMINS.in_domain(DOMAIN_SID), Rid.ENTERPRISE_ADMINS.in_domain(DOMAIN_SID)}
    assert security.enroll_sids() == {rid.in_domain(DOMAIN_SID) for rid in enroll} | also | admins
    assert security.autoenroll_sids() == {rid.in_domain(DOMAIN_SID) for rid in autoenroll} | also


def test_web_server_allows_the_domain_given_and_no_other_template_has_name_rules() -> None:
    with_rules = {cn: template.name_rules.rules for cn, template in TEMPLATES.items() if template.name_rules.rules}
    assert list(with_rules) == ["WebServer"]
    (rule,) = with_rules["WebServer"]
    assert rule == NameRule(dns_suffixes=("corp.example",))


def test_forests_draw_arcs_of_their_own() -> None:
    """[MS-CRTD] 2.20: the OIDs of two forests differ; the last two arcs never do."""
    arcs = {new_forest_arcs() for _ in range(20)}
    assert len(arcs) == 20
    assert all(len(text.split(".")) == 6 for text in arcs)


def test_eleven_are_published_by_a_new_ca() -> None:
    assert len(published_by_default()) == 11
