"""What `init` fills in where nobody said anything, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.pki.names import format_name
from certwright.server import initialization, listeners
from certwright.server.authorities import subject
from certwright.server.composition import host_account_name
from certwright.server.home import Settings
from certwright.server.initialization import (
    Plan,
    default_domain,
    default_hostname,
    default_netbios,
    initialize,
    plan_settings,
    refuse_used,
)
from certwright.server.listeners import listening_addresses


def names_resolve_to(monkeypatch: pytest.MonkeyPatch, **addresses: tuple[str, ...]) -> None:
    """A resolver that knows these names, with `_` for the dots."""
    known = {name.replace("_", "."): found for name, found in addresses.items()}
    for module in (initialization, listeners):
        monkeypatch.setattr(module, "resolve", lambda name: known.get(name, ()))


def test_a_host_with_a_name_of_its_own_is_called_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "CA01.corp.example")
    names_resolve_to(monkeypatch, ca01_corp_example=("127.0.1.1",))

    assert default_hostname(()) == "ca01.corp.example"


@pytest.mark.parametrize(
    ("fqdn", "bind", "expected"),
    [
        ("vm", (), "localhost"),  # not a full name
        ("localhost.localdomain", (), "localhost"),
        ("ca.corp.example", (), "localhost"),  # leads elsewhere, and only this host is listened to
        ("ca.corp.example", ("0.0.0.0",), "ca.corp.example"),
        ("unknown.corp.example", ("0.0.0.0",), "localhost"),
    ],
)
def test_urls_with_the_default_name_lead_here(
    monkeypatch: pytest.MonkeyPatch, fqdn: str, bind: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: fqdn)
    names_resolve_to(monkeypatch, ca_corp_example=("192.0.2.10",), vm=("127.0.0.1",))

    assert default_hostname(bind) == expected


def test_a_name_that_was_given_is_served_where_it_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    names_resolve_to(monkeypatch, ca_corp_example=("192.0.2.10", "2001:db8::10"), local_corp_example=("127.0.1.1",))

    elsewhere = plan_settings("ca.corp.example", 8443, 8080, (), "sqlite")
    here = plan_settings("local.corp.example", 8443, 8080, (), "sqlite")

    assert elsewhere.bind == ("127.0.0.1", "192.0.2.10", "2001:db8::10")
    assert here.bind == ()
    assert listening_addresses(here) == ("127.0.0.1", "::1", "127.0.1.1")
    assert listening_addresses(elsewhere, ["0.0.0.0"]) == ("0.0.0.0",)


@pytest.mark.parametrize(
    ("hostname", "domain", "netbios"),
    [
        ("ca.corp.example", "corp.example", "CORP"),
        ("ca.lan", "corp.lan", "CORP"),
        ("localhost", "corp.example", "CORP"),
        ("pki.a-very-long-department.example", "a-very-long-department.example", "A-VERY-LONG-DEP"),
    ],
)
def test_the_domain_is_the_hosts(hostname: str, domain: str, netbios: str) -> None:
    assert default_domain(hostname) == domain
    assert default_netbios(domain) == netbios


def test_cas_are_named_as_ad_cs_names_them() -> None:
    plan = Plan.make(Settings("ca.corp.example"), netbios="corp")

    assert (plan.root_name, plan.issuing_name) == ("CORP Root CA", "CORP Issuing CA")
    assert format_name(subject(plan.issuing_name, plan.domain_name)) == "CN=CORP Issuing CA,DC=corp,DC=example"


@pytest.mark.parametrize(
    ("hostname", "account"),
    [
        ("ca01.corp.example", "CA01$"),
        ("a-very-long-hostname.example", "A-VERY-LONG-HOS$"),
        ("42.example", "HOST-42$"),
    ],
)
def test_the_hosts_account_has_a_name_windows_would_take(hostname: str, account: str) -> None:
    assert host_account_name(hostname) == account


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()

    with pytest.raises(ConfigurationError, match="is not empty"):
        refuse_used(tmp_path)
    with pytest.raises(ConfigurationError, match="is not empty"):
        refuse_used(tmp_path / "something")
    refuse_used(tmp_path / "new")


def test_a_folder_that_cannot_be_replaced_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount point of a container's volume."""
    home = tmp_path / "home"
    home.mkdir()

    def busy(path: Path) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rmdir", busy)
    monkeypatch.setattr(initialization, "_fill", lambda made, plan, step: made.configuration.write_text("[log]"))
    monkeypatch.setattr("certwright.server.home.Home.open", lambda folder: folder)

    initialize(home, Plan.make(Settings("localhost")))

    assert [path.name for path in home.iterdir()] == ["certwright.toml"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made up to then lies beside the home, and goes."""

    def fail(*_: object) -> None:
        assert list(tmp_path.glob(".home.*/master.key"))
        raise OSError("the disk is full")

    monkeypatch.setattr(initialization, "_make_tables", fail)

    with pytest.raises(OSError, match="the disk is full"):
        initialize(tmp_path / "home", Plan.make(Settings("localhost")))

    assert list(tmp_path.iterdir()) == []
