"""The command line as an administrator and a script meet it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509

from certwright.pki import armor
from certwright.server.system_user import system_user
from tests.integration.clients import request_pem, saved
from tests.support.programs import openssl
from tests.support.requests import web_server_request
from tests.support.server import DOMAIN, RunningServer


def submitted(server: RunningServer, tmp_path: Path, host: str, *options: str) -> Path:
    """A certificate for a host, by `request submit`."""
    out = tmp_path / f"{host}.pem"
    server.cli("request", "submit", "-", "-t", "WebServer", "--out", out, *options, data=request_pem(host))
    return out


def test_a_request_may_come_in_every_armor(server: RunningServer, tmp_path: Path) -> None:
    der = web_server_request(f"armor.{DOMAIN}")
    forms = {
        "a.der": der,
        "a.pem": armor.armor(armor.CERTIFICATE_REQUEST, der).encode(),
        "a.new": armor.armor(armor.NEW_CERTIFICATE_REQUEST, der, "\r\n").encode(),
        "a.b64": "".join(armor.armor("X", der).splitlines()[1:-1]).encode(),
    }
    for name, content in forms.items():
        answer = server.json("request", "submit", saved(tmp_path, name, content), "--template", "WebServer")
        assert answer["disposition"] == "issued", name
        assert "BEGIN CERTIFICATE" in answer["certificate"]


def test_a_certificate_can_be_exported_in_three_ways(server: RunningServer, tmp_path: Path) -> None:
    leaf = x509.load_pem_x509_certificate(submitted(server, tmp_path, f"export.{DOMAIN}").read_bytes())
    serial = f"{leaf.serial_number:x}"

    server.cli("certificate", "export", serial.upper(), "--out", tmp_path / "leaf.pem")
    server.cli("certificate", "export", f"0x{serial}", "--der", "--out", tmp_path / "leaf.der")
    chain = x509.load_pem_x509_certificates(server.cli("certificate", "export", serial, "--chain").encode())
    refused = server.run("certificate", "export", serial, "--out", tmp_path / "leaf.pem")

    assert x509.load_pem_x509_certificate((tmp_path / "leaf.pem").read_bytes()) == leaf
    assert x509.load_der_x509_certificate((tmp_path / "leaf.der").read_bytes()) == leaf
    assert chain[0] == leaf
    assert len(chain) == 3
    assert refused.returncode == 1
    assert "exists already" in refused.stderr


def test_the_row_of_a_certificate_says_what_it_is(server: RunningServer, tmp_path: Path) -> None:
    leaf = x509.load_pem_x509_certificate(submitted(server, tmp_path, f"row.{DOMAIN}").read_bytes())
    serial = f"{leaf.serial_number:x}"

    row = server.json("certificate", "show", serial)
    listed = server.json("certificate", "list", "--where", f"serial_number={serial}")

    assert row["subject"] == f"CN=row.{DOMAIN}"
    assert row["template"] == "WebServer"
    assert row["explanation"]["label"] == "Certificate"
    assert [each["request_id"] for each in listed] == [row["request_id"]]
    assert server.run("certificate", "show", "00112233").returncode == 1


def test_denied_requests_end_with_status_one_and_their_hresult(server: RunningServer) -> None:
    without = server.run("request", "submit", "-", data=request_pem())
    unknown = server.run("request", "submit", "-", "-t", "NoSuchTemplate", data=request_pem())

    assert [without.returncode, unknown.returncode] == [1, 1]
    assert "0x80094801 CERTSRV_E_NO_CERT_TYPE" in without.stderr
    assert "0x80094800 CERTSRV_E_UNSUPPORTED_CERT_TYPE" in unknown.stderr


def test_nothing_at_the_command_line_skips_the_gate(server: RunningServer) -> None:
    """`--as` names an account, and that account's rights count: CA roles, templates, the directory."""
    server.cli("account", "add", "mallory", "--no-password")
    attempts = [
        ("request", "list"),
        ("ca", "set", "retrieval-by-anyone=on"),
        ("ca", "publish-crl"),
        ("account", "add", "crony", "--no-password"),
        ("account", "set-password", "Administrator"),
        ("template", "grant", "WebServer", "--enroll", "mallory"),
        ("template", "publish", "CA"),
        ("audit", "list"),
        ("certificate", "revoke", "01"),
        ("tls", "renew"),
    ]

    refused = [server.run(*words, "--as", "mallory", data="a good long password\n") for words in attempts]

    assert [done.returncode for done in refused] == [1] * len(attempts)
    assert all("mallory" in done.stderr for done in refused), [done.stderr for done in refused]


def test_a_role_is_a_group(server: RunningServer) -> None:
    """Certificate managers approve; auditors read; neither changes settings. [MS-CSRA] 3.1.1.7."""
    for name, group in (("olga", "Certificate Managers"), ("ada", "CA Auditors")):
        server.cli("account", "add", name, "--group", group, "--no-password")
    waiting = server.json("request", "submit", "-", "-t", "WebServer", data=request_pem("www.else.example"))
    number = str(waiting["request_id"])

    by_auditor = server.run("request", "issue", number, "--as", "ada")
    trail = server.run("audit", "list", "--as", "ada", "--json")
    by_manager = server.run("request", "issue", number, "--as", "olga")
    settings = [server.run("ca", "set", "basic=off", "--as", name) for name in ("olga", "ada")]

    assert waiting["disposition"] == "under_submission"
    assert by_auditor.returncode == 1
    assert trail.returncode == 0
    assert by_manager.returncode == 0
    assert [done.returncode for done in settings] == [1, 1]


def test_a_pending_request_can_be_denied_with_a_reason(server: RunningServer) -> None:
    waiting = server.json("request", "submit", "-", "-t", "WebServer", data=request_pem("www.else.example"))
    number = str(waiting["request_id"])

    server.cli("request", "deny", number, "--reason", "not ours")
    row = server.json("request", "show", number)
    again = server.run("request", "deny", number)

    assert row["disposition"] == "denied"
    assert "not ours" in row["message"]
    assert again.returncode == 1


def test_settings_are_changed_all_or_none_and_mistakes_are_explained(server: RunningServer) -> None:
    before = server.json("ca", "show")["settings"]

    unknown = server.run("ca", "set", "crl-period=2 days", "chanel-binding=allow")
    wrong = server.run("ca", "set", "channel-binding=perhaps")
    formless = server.run("ca", "set", "channel-binding")

    assert [done.returncode for done in (unknown, wrong, formless)] == [1, 1, 1]
    assert "did you mean channel-binding?" in unknown.stderr
    assert "off, allow, require" in wrong.stderr
    assert server.json("ca", "show")["settings"] == before


def test_a_template_goes_out_and_in_again_unchanged(server: RunningServer, tmp_path: Path) -> None:
    server.cli("template", "export", "User", "--out", tmp_path / "user.json")
    document = json.loads((tmp_path / "user.json").read_text())
    document["cn"] = "OurUser"
    for name in ("msPKI-Cert-Template-OID",):
        del document[name]

    server.cli("template", "import", saved(tmp_path, "our.json", json.dumps(document)))
    server.cli("template", "set", "OurUser", "validity-period=90 days", "renewal-period=2 weeks")
    server.cli("template", "publish", "OurUser")
    shown = server.json("template", "show", "OurUser")
    published = [each["name"] for each in server.json("template", "list", "--published")]
    server.cli("template", "unpublish", "OurUser")

    assert shown["pKIExpirationPeriodText"] == "90 days"
    assert "OurUser" in published
    assert len(published) == 12
    assert len(server.json("template", "list")) == 34


def test_templates_are_made_duplicated_and_deleted(server: RunningServer) -> None:
    server.cli("template", "create", "Vpn", "--display-name", "VPN users", "--machine")
    server.cli("template", "duplicate", "CodeSigning", "OurCode", "--display-name", "Our code")
    names = ("Vpn", "OurCode", "CodeSigning")
    made, duplicate, source = (server.json("template", "show", name) for name in names)
    refused = server.run("template", "delete", "CodeSigning")
    for name in ("Vpn", "OurCode"):
        server.cli("template", "delete", name)

    assert (made["displayName"], made["msPKI-Template-Schema-Version"]) == ("VPN users", 4)
    assert duplicate["msPKI-Cert-Template-OID"] != source["msPKI-Cert-Template-OID"]
    assert refused.returncode == 1
    assert "default templates" in refused.stderr
    assert "OurCode" not in [each["name"] for each in server.json("template", "list")]


def test_a_dangerous_template_needs_its_risk_accepted_by_name(server: RunningServer) -> None:
    """ESC1: whoever may enroll names whom they like, and logs on as them."""
    server.cli("account", "add", "eve", "--no-password")
    server.cli("template", "grant", "User", "--enroll", "eve")

    refused = server.run("template", "set", "User", "enrollee-supplies-subject=on")
    accepted = server.run("template", "set", "User", "enrollee-supplies-subject=on", "--accept-risk", "ESC1")
    back = server.run("template", "set", "User", "enrollee-supplies-subject=off", "subject=directory-path,email")

    assert refused.returncode == 1
    assert "ESC1" in refused.stderr
    assert accepted.returncode == 0
    assert back.returncode == 0, back.stderr


def test_a_name_rule_is_shown_with_the_name_of_its_group(server: RunningServer) -> None:
    server.cli("account", "group", "Web Masters")
    server.cli("template", "set", "OfflineRouter", "name-rules.Web Masters.dns-suffixes=partner.example")

    shown = server.cli("template", "show", "OfflineRouter")

    assert r"name rule: CORP\Web Masters may name DNS names below partner.example" in shown


def test_passwords_come_from_files_and_standard_input_only(server: RunningServer, tmp_path: Path) -> None:
    file = saved(tmp_path, "password", "from a file, please\nand no more\n")
    server.cli("account", "add", "heidi", "--password-file", file)
    server.cli("account", "set-password", "heidi", data="from standard input\r\n")
    nothing = server.run("account", "add", "ivan", data="")
    argument = server.run("account", "add", "ivan", "--password", "seen by everybody")
    short = server.run("account", "add", "ivan", data="short\n")

    assert nothing.returncode == 1
    assert argument.returncode == 2
    assert short.returncode == 1
    listed = {each["name"]: each for each in server.json("account", "list")}
    assert listed["CORP\\heidi"]["has_password"]
    assert not listed["CORP\\heidi"]["ntlm"]
    assert listed["CORP\\heidi"]["groups"] == ["CORP\\Domain Users"]
    assert "CORP\\ivan" not in listed


def test_groups_nest_and_members_inherit(server: RunningServer) -> None:
    server.cli("account", "group", "Web Team")
    server.cli("account", "group", "Web Admins", "--add", "Web Team")
    server.cli("account", "add", "judy", "--group", "Web Team", "--no-password")
    server.cli("template", "grant", "WebServer", "--enroll", "Web Admins")

    issued = server.run("request", "submit", "-", "-t", "WebServer", "--as", "judy", data=request_pem())
    circle = server.run("account", "group", "Web Team", "--add", "Web Admins")
    server.cli("account", "disable", "judy")
    disabled = server.run("request", "submit", "-", "-t", "WebServer", "--as", "judy", data=request_pem())
    server.cli("template", "revoke", "WebServer", "--enroll", "Web Admins")

    assert issued.returncode == 0, issued.stderr
    assert circle.returncode == 1
    assert disabled.returncode == 1


def test_the_key_of_the_root_can_be_taken_away_and_brought_back(server: RunningServer, tmp_path: Path) -> None:
    """The issuing CA goes on; the root's next CRL waits for its key."""
    passphrase = saved(tmp_path, "passphrase", "correct horse battery\n")
    root, key = "CORP Root CA", tmp_path / "root.key"

    server.cli("ca", "take-offline", root, "--out", key, "--passphrase-file", passphrase)
    away = server.json("ca", "show", root)
    crl = server.run("ca", "publish-crl", root)
    issued = submitted(server, tmp_path, f"without-root.{DOMAIN}")
    wrong = server.run("ca", "bring-online", root, "--in", key, data="another passphrase\n")
    server.cli("ca", "bring-online", root, "--in", key, "--passphrase-file", passphrase)
    server.cli("ca", "publish-crl", root)

    assert away["key_state"] == "offline"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "ENCRYPTED PRIVATE KEY" in key.read_text()
    openssl("pkey", "-in", key, "-passin", f"file:{passphrase}", "-noout")
    assert crl.returncode == 1
    assert "offline" in crl.stderr
    assert issued.exists()
    assert wrong.returncode == 1
    events = {each["event"] for each in server.json("audit", "list", "--ca", root)}
    assert {9002, 9003, 9004} <= events


def test_the_issuing_ca_is_not_taken_offline_by_accident(server: RunningServer, tmp_path: Path) -> None:
    refused = server.run("ca", "take-offline", "CORP Issuing CA", "--out", tmp_path / "key", data="a passphrase ok\n")

    assert refused.returncode == 1
    assert "--issuing" in refused.stderr
    assert not (tmp_path / "key").exists()


def test_explain_tells_what_is_inside(server: RunningServer, tmp_path: Path) -> None:
    leaf = submitted(server, tmp_path, f"explained.{DOMAIN}")

    certificate = server.cli("explain", leaf)
    request = server.cli("explain", "-", data=request_pem(f"explained.{DOMAIN}"))
    crl = server.cli("explain", "-", data=server.cli("ca", "crl"))
    nonsense = server.run("explain", "-", data="nonsense")

    assert f"explained.{DOMAIN}" in certificate
    assert "WebServer" in certificate
    assert request.startswith("Certification request")
    assert crl.startswith("CRL")
    assert nonsense.returncode == 1
    assert nonsense.stderr.count("\n") == 1


def test_the_audit_trail_is_intact_and_tells_who_did_what(server: RunningServer) -> None:
    server.cli("ca", "set", "crl-period=8 days")
    server.cli("ca", "set", "crl-period=")

    changes = server.json("audit", "list", "--event", "4891", "--limit", "2")
    verified = server.json("audit", "verify")
    listed = server.cli("audit", "list", "--event", "4891", "--limit", "2")

    assert [(each["details"]["before"], each["details"]["after"]) for each in changes] == [
        ("8 days", "1 weeks"),
        ("1 weeks", "8 days"),
    ]
    assert all(each["actor"] == "CORP\\Administrator" for each in changes)
    assert {each["details"]["os_user"] for each in changes} == {system_user()}
    assert "OS user" in listed
    assert "os_user=" not in listed
    assert verified["intact"]
    assert verified["checked"] > 50


@pytest.mark.parametrize(
    "words",
    [
        ("ca", "list"),
        ("ca", "show"),
        ("account", "list"),
        ("account", "list", "--groups"),
        ("template", "list"),
        ("template", "show", "WebServer"),
        ("request", "list"),
        ("request", "show", "1"),
        ("certificate", "list"),
        ("certificate", "list", "--revoked"),
        ("audit", "list"),
        ("audit", "verify"),
        ("tls", "show"),
    ],
)
def test_every_list_and_show_speaks_json_and_to_people(server: RunningServer, words: tuple[str, ...]) -> None:
    shown = server.run(*words)
    json.loads(server.cli(*words, "--json"))

    assert shown.returncode == 0
    assert shown.stdout or "nothing to show" in shown.stderr
