"""Section [directory] of certwright.toml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.server.directory_settings import ACTIVE_DIRECTORY, DirectorySettings
from certwright.server.home import Home, Settings

JOINED = DirectorySettings(
    kind=ACTIVE_DIRECTORY,
    realm="CORP.EXAMPLE",
    dns_domain="corp.example",
    netbios="CORP",
    sid="S-1-5-21-1-2-3",
    account="svc-pki",
    keytab="svc.keytab",
    controllers=("dc1.corp.example", "dc2.corp.example:3268"),
    site="Izmir",
    name_servers=("192.0.2.1", "2001:db8::1"),
    ca_file="/etc/ssl/corp.pem",
    cache_seconds=10,
    stale_seconds=120,
    timeout_seconds=3,
)


def _settings(directory: DirectorySettings) -> Settings:
    return Settings("ca.corp.example", directory=directory)


def test_every_key_survives_the_file() -> None:
    for directory in (JOINED, replace(JOINED, keytab="", password_file="pass word"), DirectorySettings()):
        settings = _settings(directory)
        assert Settings.from_toml(settings.to_toml()) == settings


def test_realm_is_the_domain_in_capitals_when_it_is_not_said() -> None:
    text = _settings(JOINED).to_toml().replace('realm = "CORP.EXAMPLE"\n', "")
    assert Settings.from_toml(text).directory == JOINED


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "ldap"}, "'ldap' is none of embedded, active-directory"),
        ({"dns_domain": ""}, "dns-domain: name the domain"),
        ({"account": r"CORP\svc"}, "without its domain"),
        ({"account": ""}, "give the service account's name"),
        ({"keytab": ""}, "either keytab or password-file"),
        ({"password_file": "secret"}, "either keytab or password-file"),
        ({"name_servers": ("ns1",)}, "'ns1' is no IP address"),
        ({"sid": ""}, "sid and netbios belong together"),
        ({"sid": "S-1-5-32-544"}, "is no domain's SID"),
    ],
)
def test_a_wrong_value_is_refused_by_name(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Settings.from_toml(_settings(replace(JOINED, **changes)).to_toml())
    assert sentence in refusal.value.message


def test_files_are_in_the_home_folder_and_the_password_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pass word\n")
    settings = replace(JOINED, keytab="", password_file="secret", ca_file="corp.pem")
    domain = Home(tmp_path, _settings(settings)).domain
    assert domain is not None
    assert domain.password == "pass word"
    assert domain.ca_file == tmp_path / "corp.pem"
    assert domain.keytab is None
    assert (domain.domain_sid, domain.netbios_name) == ("S-1-5-21-1-2-3", "CORP")
    assert (domain.cache_seconds, domain.stale_seconds, domain.timeout) == (10.0, 120.0, 3.0)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"keytab: there is no file .*svc\.keytab"):
        _ = Home(tmp_path, _settings(JOINED)).domain
    with pytest.raises(ConfigurationError, match=r"password-file: .*gone cannot be read"):
        _ = Home(tmp_path, _settings(replace(JOINED, keytab="", password_file="gone"))).domain


def test_installation_of_its_own_belongs_to_no_domain(tmp_path: Path) -> None:
    assert Home(tmp_path, _settings(DirectorySettings())).domain is None
