"""`certwright audit security` on an installation: silence as installed, the number of what somebody opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.template import EnrollmentFlag, NameFlag
from certwright.adcs.template_json import template_to_text
from certwright.directory.security_audit.audit import Standing
from certwright.directory.security_audit.findings import Severity
from certwright.directory.well_known import Rid
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import oids
from certwright.server.composition import Installation
from certwright.server.home import Home, Settings
from certwright.server.initialization import Plan, initialize
from certwright.server.security_audit import own_security
from tests.support.installation import ISSUING, OPERATOR, PASSWORD, ROOT
from tests.support.server import DOMAIN, NETBIOS, certwright

ESS: Final = NameFlag.ENROLLEE_SUPPLIES_SUBJECT
ENROLL: Final = "0e10c968-78fb-11d2-90d4-00c04f79dc55"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as `init` leaves it."""
    plan = Plan.make(
        Settings(hostname="localhost"),
        dns_domain=DOMAIN,
        netbios=NETBIOS,
        root_key=KeyAlgorithm.ECDSA_P256,
        ca_key=KeyAlgorithm.ECDSA_P256,
        password=PASSWORD,
    )
    return initialize(tmp_path_factory.mktemp("installed") / "home", plan).folder


@pytest.fixture
def home(installed: Path, tmp_path: Path) -> Home:
    return Home.open(Path(shutil.copytree(installed, tmp_path / "home")))


def put(installation: Installation, cn: str, *accept: str, published: bool = True, **changes: Any) -> None:
    """Change a template in spite of its risks, and publish it."""
    administration = installation.directory_administration
    administration.change_template(
        cn, lambda before: replace(before, **changes), accept_risks=accept, reason="a test", actor=OPERATOR
    )
    if published:
        administration.publish(ISSUING, cn, accept_risks=accept, actor=OPERATOR)


def set_ca(installation: Installation, number: str, ca: str = "", **settings: str) -> None:
    config = installation.ca(ca).config
    changes = {key.replace("_", "-"): value for key, value in settings.items()}
    admin = installation.registry.administer(config, installation.operator())
    admin.set_configuration(changes, override=[number], reason="a test")


def open_to(*trustees: str, more: str = "") -> str:
    return "O:EAG:EAD:" + "".join(f"(OA;;CR;{ENROLL};;{trustee})" for trustee in trustees) + more


def nested_officers(installation: Installation) -> None:
    """Everybody, by way of a group between, among the certificate managers."""
    domain_sid = installation.directory.domain.sid
    users = Rid.DOMAIN_USERS.in_domain(domain_sid)
    between = installation.directory_administration.add_group("Between", members=[users], actor=OPERATOR)
    installation.directory_administration.add_to_group("Certificate Managers", between.sid, actor=OPERATOR)


Seed = Callable[[Installation], None]
SEEDS: Final[dict[str, tuple[Seed, str, str]]] = {
    # name, beginning with the number: what is done; severity; what the entry or the condition must say
    "ESC1": (
        lambda it: put(it, "User", "ESC1", name_flag=ESS, schema_version=2),
        "high",
        r"CORP\Domain Users: Enroll",
    ),
    "ESC2": (
        lambda it: put(
            it,
            "CodeSigning",
            "ESC2",
            schema_version=2,
            extended_key_usage=(),
            application_policies=(),
            security_descriptor=open_to("AU"),
        ),
        "high",
        r"NT AUTHORITY\Authenticated Users: Enroll",
    ),
    "ESC3": (
        lambda it: put(it, "EnrollmentAgent", "ESC3", security_descriptor=open_to("DU")),
        "high",
        r"CORP\Domain Users: Enroll",
    ),
    "ESC3 by signature": (
        lambda it: put(
            it,
            "SmartcardLogon",
            "ESC3",
            schema_version=2,
            ra_signatures=1,
            ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,),
            security_descriptor=open_to("DU"),
        ),
        "medium",
        "an enrollment agent's signature is accepted",
    ),
    "ESC4": (
        lambda it: put(it, "WebServer", security_descriptor=open_to("DA", more="(A;;WDWO;;;DU)")),
        "low",
        r"CORP\Domain Users: Modify Permissions and Modify Owner",
    ),
    "ESC7": (
        lambda it: set_ca(it, "ESC7", security_descriptor="O:BAG:BAD:(A;;0xf;;;BA)(A;;0x1;;;DU)(A;;0x200;;;AU)"),
        "high",
        r"CORP\Domain Users: Manage CA",
    ),
    "ESC7 by nested groups": (nested_officers, "high", r"CORP\Certificate Managers: Issue and Manage Certificates"),
    "ESC8": (lambda it: set_ca(it, "ESC8", channel_binding="off"), "high", "channel binding is off"),
    "ESC8 by leaving out": (
        lambda it: set_ca(it, "ESC8", channel_binding="allow", ntlm="off"),
        "medium",
        "offers Negotiate",
    ),
    "ESC9": (
        lambda it: put(it, "User", "ESC9", enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION),
        "high",
        "no SID in the certificate",
    ),
    "ESC15": (
        lambda it: put(it, "WebServer", security_descriptor=open_to("DC")),
        "low",
        "schema version 1",
    ),
    "ESC17": (
        lambda it: put(
            it,
            "IPSECIntermediateOffline",
            "ESC17",
            schema_version=2,
            security_descriptor=open_to("DC"),
            extended_key_usage=(oids.EKU_SERVER_AUTH,),
            application_policies=(oids.EKU_SERVER_AUTH,),
        ),
        "high",
        "no name rules",
    ),
    "ESC17 of a standalone CA": (
        lambda it: set_ca(it, "ESC17", ROOT, request_disposition="issue"),
        "high",
        "it issues without approval",
    ),
}


# -- as installed ----------------------------------------------------------------------------------------------------


def test_an_installation_has_no_finding(home: Home) -> None:
    """All 33 default templates, both CAs; nothing is merely not visible."""
    with Installation.open(home) as installation:
        report = own_security(installation)
    assert report.findings == ()
    assert report.unreadable == ()
    assert {line.standing for line in report.coverage} == {Standing.CLOSED, Standing.IMPOSSIBLE}


def test_the_command_prints_nothing_then(home: Home) -> None:
    done = certwright(home.folder, "audit", "security")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- seeded ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEEDS)
def test_every_seeded_misconfiguration_gets_its_number(home: Home, name: str) -> None:
    seed, severity, said = SEEDS[name]
    with Installation.open(home) as installation:
        seed(installation)
        report = own_security(installation)

    assert {finding.number for finding in report.findings} == {name.partition(" ")[0]}
    finding = report.findings[0]
    assert finding.severity is Severity(severity)
    assert any(said in text for text in (*finding.aces, *finding.why)), (finding.aces, finding.why)
    assert finding.accepted is (finding.needs_acceptance and seed is not nested_officers)


def test_the_command_says_who_why_and_how_to_close_it(home: Home) -> None:
    with Installation.open(home) as installation:
        nested_officers(installation)
        SEEDS["ESC8"][0](installation)

    done = certwright(home.folder, "audit", "security")
    overview = certwright(home.folder, "audit", "security", "--all")
    answer = json.loads(certwright(home.folder, "audit", "security", "--json").stdout)

    assert done.returncode == 1
    assert f"ESC7 (high) CA {ISSUING}: Roles on the CA for everybody" in done.stdout
    assert r"  who: CORP\Certificate Managers: Issue and Manage Certificates" in done.stdout
    assert f"ESC8 (high, overridden) CA {ISSUING}" in done.stdout
    assert f"  fix: Require the binding: certwright ca set channel-binding=require --ca '{ISSUING}'." in done.stdout
    assert "there is no RPC interface" in overview.stdout
    assert {each["number"]: each["accepted"] for each in answer["findings"]} == {"ESC7": False, "ESC8": True}
    assert len(answer["coverage"]) == 17


def test_what_was_overridden_is_shown_and_fails_nobody(home: Home) -> None:
    with Installation.open(home) as installation:
        SEEDS["ESC1"][0](installation)
    done = certwright(home.folder, "audit", "security")
    assert done.returncode == 0
    assert done.stdout.startswith("ESC1 (high, overridden) template User: ")


def test_settings_are_overridden_at_the_command_line(home: Home) -> None:
    by_name = certwright(home.folder, "ca", "set", "channel-binding=allow")
    trail_of_it = certwright(home.folder, "audit", "list", "--limit", "2")
    certwright(home.folder, "ca", "set", "channel-binding=require")
    everybody = "O:BAG:BAD:(A;;0x1;;;BA)(A;;0x1;;;AU)"
    refused = certwright(home.folder, "ca", "set", f"security-descriptor={everybody}")
    unexplained = certwright(home.folder, "ca", "set", "channel-binding=allow", "--override", "ESC8")
    reason = ("--override", "ESC8", "--reason", "an old printer")
    saved = certwright(home.folder, "ca", "set", "channel-binding=allow", *reason)
    trail = certwright(home.folder, "audit", "list", "--limit", "2")

    assert (by_name.returncode, refused.returncode) == (0, 1)
    assert "ESC8" in by_name.stderr
    assert "override=ESC8 reason=channel-binding was set by its name" in trail_of_it.stdout
    assert "ESC7" in refused.stderr
    assert (unexplained.returncode, saved.returncode) == (1, 0)
    assert "needs its reason" in unexplained.stderr
    assert "override=ESC8 reason=an old printer" in trail.stdout


# -- who is everybody, who may ask -----------------------------------------------------------------------------------


def test_a_group_may_be_told_to_count_as_everybody(home: Home) -> None:
    with Installation.open(home) as installation:
        users = Rid.CERTIFICATE_MANAGERS.in_domain(installation.directory.domain.sid)
        usual = own_security(installation)
        strict = own_security(installation, [r"CORP\Certificate Managers"])
        with pytest.raises(InvalidArgument, match="there is no group called 'nobody'"):
            own_security(installation, ["nobody"])
        with pytest.raises(InvalidArgument, match="there is no group"):
            own_security(installation, ["Administrator"])

    assert usual.findings == ()
    assert {(finding.number, finding.principals) for finding in strict.findings} == {
        ("ESC7", frozenset({Sid(users)}))
    }


def test_a_group_of_administrators_opens_nothing_in_fact_and_everything_by_right(home: Home) -> None:
    """The gate judges the right, which outlives its holders; the audit judges who holds it."""
    with Installation.open(home) as installation:
        administration = installation.directory_administration
        team = administration.add_group("PKI Team", members=["Administrator"], actor=OPERATOR)
        subject = {"name_flag": ESS, "schema_version": 2, "security_descriptor": open_to(team.sid)}
        with pytest.raises(InvalidArgument, match="ESC1"):
            put(installation, "User", **subject)
        put(installation, "User", "ESC1", **subject)
        before = own_security(installation).findings
        administration.add_account("mallory", password=PASSWORD, groups=["PKI Team"], actor=OPERATOR)
        after = own_security(installation).findings

    assert before == ()
    assert [finding.number for finding in after] == ["ESC1"]


def test_the_audit_is_for_auditors(home: Home) -> None:
    with Installation.open(home) as installation:
        for name, groups in (("ada", ["CA Auditors"]), ("alice", [])):
            installation.directory_administration.add_account(name, password=PASSWORD, groups=groups, actor=OPERATOR)

    assert certwright(home.folder, "audit", "security", "--as", "ada").returncode == 0
    refused = certwright(home.folder, "audit", "security", "--as", "alice")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "has no right to do this" in refused.stderr


def test_an_unreadable_list_of_permissions_is_told(home: Home) -> None:
    with Installation.open(home) as installation:
        broken = replace(installation.directory.templates()["User"], security_descriptor="nonsense")
        with installation.database.transaction() as connection:
            connection.execute(
                "UPDATE directory_template SET document = ? WHERE cn_key = ?", (template_to_text(broken), "user")
            )
            connection.execute("UPDATE directory_version SET version = version + 1")
        report = own_security(installation)
    assert report.findings == ()
    assert ["template User" in text for text in report.unreadable] == [True]
