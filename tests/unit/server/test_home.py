"""certwright.toml and the home folder: mistakes are one sentence that says what to change."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.server.home import CONFIGURATION, AuthenticationSettings, Home, Settings

GOOD = Settings("ca.corp.example", 9443, 9080, bind=("192.0.2.1", "::"), certificate_port=9444)


def test_what_init_writes_is_what_a_start_reads() -> None:
    """Every setting survives the file, quotes and backslashes included."""
    settings = Settings("ca.corp.example", 443, 80, ("::1",), 'postgresql://u:p"\\@db/name', "debug", "json")
    settings = replace(settings, certificate_port=444)

    assert settings == Settings.from_toml(settings.to_toml())


@pytest.mark.parametrize(
    ("line", "replacement", "sentence"),
    [
        ("https-port = 9443", "https-port = 0", "https-port must be a number from 1 to 65535, not 0"),
        ("https-port = 9443", 'https-port = "9443"', "https-port must be a number"),
        ("https-port = 9443", "https-port = true", "https-port must be a number"),
        ("https-port = 9443", "https-port = 9080", "both 9080"),
        ("https-port = 9443", "http_port = 1", "[listeners] has no key 'http_port'; known: bind, certificate-port"),
        ("certificate-port = 9444", "certificate-port = 9443", "certificate-port is 9443, as another listener's"),
        ("format = 1", "format = 2", "format 2 is newer than this program's 1; install a newer Certwright"),
        ('hostname = "ca.corp.example"', "", "hostname is missing"),
        ('hostname = "ca.corp.example"', 'hostname = "ca corp"', "'ca corp' is no host name"),
        ('hostname = "ca.corp.example"', 'hostname = "10.0.0.1"', "'10.0.0.1' is no host name"),
        ('bind = ["192.0.2.1", "::"]', 'bind = ["eth0"]', "'eth0' is no IP address"),
        ('bind = ["192.0.2.1", "::"]', 'bind = "::"', "bind must be a list of addresses"),
        ('url = "sqlite"', 'url = "mysql://db/x"', "'mysql' is not supported"),
        ('url = "sqlite"', 'url = "postgresql://db"', "names no database"),
        ('level = "info"', 'level = "loud"', "'loud' is none of debug, info, warning, error"),
        ("[log]", "[logging]", "unknown section [logging]; known: authentication, database, directory"),
        ("[log]", "[log", "is no TOML"),
    ],
)
def test_a_wrong_value_is_refused_by_name(line: str, replacement: str, sentence: str) -> None:
    text = GOOD.to_toml()
    assert line in text

    with pytest.raises(ConfigurationError) as refusal:
        Settings.from_toml(text.replace(line, replacement, 1))

    assert sentence in refusal.value.message
    assert "\n" not in refusal.value.message.partition("TOML")[0]


def test_how_a_domains_accounts_log_on_is_read_back() -> None:
    """Nothing said is written as a comment, with the keys there are."""
    chosen = AuthenticationSettings("http.keytab", True, "/usr/bin/ntlm_auth", True)
    written = replace(GOOD, authentication=chosen).to_toml()
    assert Settings.from_toml(written).authentication == chosen
    assert Settings.from_toml(GOOD.to_toml()).authentication == AuthenticationSettings()
    assert "# client-certificates = false" in GOOD.to_toml()
    with pytest.raises(ConfigurationError, match="allow-rc4 must be true or false, not 'yes'"):
        Settings.from_toml(written.replace("allow-rc4 = true", 'allow-rc4 = "yes"'))


def test_a_folder_without_the_file_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no Certwright home: run certwright init"):
        Home.open(tmp_path)


def test_standard_ports_are_left_out_of_urls() -> None:
    assert Settings("ca.example", 443, 80).https_url == "https://ca.example"
    assert Settings("ca.example", 443, 80).http_url == "http://ca.example"
    assert GOOD.https_url == "https://ca.corp.example:9443"


def test_the_second_process_is_told_the_number_of_the_first(tmp_path: Path) -> None:
    """The lock holds between processes, and goes with its holder."""
    (tmp_path / CONFIGURATION).write_text(GOOD.to_toml())
    home = Home.open(tmp_path)
    attempt = (
        "import sys; from pathlib import Path; from certwright.server.home import Home\n"
        "with Home.open(Path(sys.argv[1])).locked('serve'): print('held')"
    )

    with home.locked("serve"), home.locked("worker"):
        refused = subprocess.run(
            [sys.executable, "-c", attempt, tmp_path], capture_output=True, text=True, check=False
        )
    allowed = subprocess.run([sys.executable, "-c", attempt, tmp_path], capture_output=True, text=True, check=False)

    assert refused.returncode != 0
    assert re.search(rf"process {os.getpid()} runs on .* already", refused.stderr)
    assert allowed.stdout == "held\n"
