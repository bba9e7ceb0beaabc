"""A real Active Directory for tests: the Samba domain of scripts/ad-lab, a realm of its own for every run.

`ad` is one domain that the tests of a run share: what a test adds has a name of its own, and what it changes it puts
back. Where namespaces are impossible the tests are skipped, with the reason.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest

SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "ad-lab"
_STARTING: Final = 180  # seconds, on a busy machine
_LENGTH: Final = 5  # of what tells the realms of two runs apart


@dataclass(frozen=True)
class Lab:
    """A domain that is up."""

    folder: Path
    realm: str  # RUN1A2B3.EXAMPLE.TEST
    netbios: str  # RUN1A2B3
    dns_domain: str
    base_dn: str
    controller: str  # full name of the domain controller
    controller_address: str
    host_address: str  # this host's address as the domain sees it
    ca_host: str  # this host's name in the domain, for a server under test
    tls_ca: Path
    administrator_password: str = field(repr=False)
    user_password: str = field(repr=False)  # alice, bob, carol, dave (disabled)
    service_password: str = field(repr=False)  # svc-enroll, svc-http
    computer_password: str = field(repr=False)  # WS1$

    @classmethod
    def of(cls, folder: Path) -> Lab:
        """Read what `ad-lab up` wrote."""
        lines = subprocess.run(
            ["bash", "-c", f". {folder}/env && env -0"], capture_output=True, text=True, check=True
        ).stdout.split("\0")
        known = dict(line.split("=", 1) for line in lines if "=" in line)
        return cls(
            folder=folder,
            realm=known["AD_LAB_REALM"],
            netbios=known["AD_LAB_DOMAIN"],
            dns_domain=known["AD_LAB_DNS_DOMAIN"],
            base_dn=known["AD_LAB_BASE_DN"],
            controller=known["AD_LAB_DC"],
            controller_address=known["AD_LAB_DC_IP"],
            host_address=known["AD_LAB_HOST_IP"],
            ca_host=known["AD_LAB_CA_HOST"],
            tls_ca=Path(known["AD_LAB_TLS_CA"]),
            administrator_password=known["AD_LAB_ADMIN_PASSWORD"],
            user_password=known["AD_LAB_USER_PASSWORD"],
            service_password=known["AD_LAB_SERVICE_PASSWORD"],
            computer_password=known["AD_LAB_COMPUTER_PASSWORD"],
        )

    @property
    def krb5_conf(self) -> Path:
        return self.folder / "krb5.conf"

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """For processes that speak Kerberos with this domain."""
        return {**os.environ, "KRB5_CONFIG": str(self.krb5_conf), "LDAPTLS_CACERT": str(self.tls_ca)}

    def keytab(self, name: str) -> Path:
        """http, ws1, svc-enroll or alice."""
        return self.folder / "keytabs" / f"{name}.keytab"

    def program(self, name: str) -> Path:
        """ntlm_auth, wbinfo or samba-tool, as if called on the domain controller."""
        return self.folder / "bin" / name

    def on_controller(self, *command: str) -> str:
        """Run a program on the domain controller; its output."""
        return self._script("exec", *command)

    def member(self, name: str) -> None:
        """Join a machine, with winbindd."""
        self._script("member", name)

    def on_member(self, name: str, *command: str) -> str:
        return self._script("mexec", name, *command)

    def autoenroll(self) -> None:
        """Certificate auto-enrollment on, in the Default Domain Policy."""
        self._script("autoenroll")

    def ldapmodify(self, ldif: str) -> None:
        """Change the directory with OpenLDAP's tool, as the domain's Administrator."""
        done = subprocess.run(
            [
                *("ldapmodify", "-x", "-H", f"ldaps://{self.controller}"),
                *("-D", f"Administrator@{self.dns_domain}", "-w", self.administrator_password),
            ],
            input=ldif,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=dict(self.environment),
        )
        assert done.returncode == 0, done.stderr

    def halt(self) -> None:
        """No domain controller answers until `start`."""
        self._script("halt")

    def start(self) -> None:
        self._script("up")

    def _script(self, verb: str, *arguments: str) -> str:
        done = subprocess.run(
            [SCRIPT, verb, self.folder, *arguments],
            capture_output=True,
            text=True,
            timeout=_STARTING,
            check=False,
            env={**os.environ, "AD_LAB_REALM": self.realm, "AD_LAB_NETBIOS": self.netbios},
        )
        assert done.returncode == 0, f"ad-lab {verb}: {done.stderr}{done.stdout}"
        return done.stdout


def why_impossible() -> str:
    """What keeps a domain from running here; empty when nothing does."""
    if os.geteuid() != 0:
        return "an Active Directory lab takes root; run the tests as root"
    if not Path("/usr/sbin/samba").exists() or shutil.which("kinit") is None:
        return "Samba or Kerberos is not installed; run scripts/test-packages"
    missing = [name for name in ("bonsai", "gssapi", "dns") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} could not be built; see requirements/active-directory.in"
    done = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"this machine allows no namespaces ({done.stderr.strip()})"
    return _no_bridge() or _no_attributes()


def _no_bridge() -> str:
    """The domain controller's network hangs on a bridge of this host."""
    name = f"cw{os.getpid()}"[:15]
    for command in (["ip", "link", "add", name, "type", "bridge"], ["ip", "link", "del", name]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"this machine lets nobody make a network bridge ({done.stderr.strip()})"
    return ""


def _no_attributes() -> str:
    """Samba keeps access lists in attributes of files that not every file system has."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, "security.certwright", b"1")
        except OSError as error:
            return f"the file system of temporary files has no security attributes ({error.strerror})"
    return ""


@pytest.fixture(scope="session")
def ad() -> Iterator[Lab]:
    """One domain for the tests of this run."""
    reason = why_impossible()
    if reason:
        pytest.skip(f"NO ACTIVE DIRECTORY: {reason}")
    name = f"RUN{os.getpid():05X}"[: 3 + _LENGTH]
    # a short path: Samba puts sockets below it
    folder = Path(tempfile.mkdtemp(prefix="ad-lab-"))
    environment = {**os.environ, "AD_LAB_REALM": f"{name}.EXAMPLE.TEST", "AD_LAB_NETBIOS": name}
    try:
        for _attempt in range(2):  # on a busy machine a daemon may answer too late; what is up stays up
            done = subprocess.run(
                [SCRIPT, "up", folder],
                capture_output=True,
                text=True,
                timeout=_STARTING,
                check=False,
                env=environment,
            )
            if done.returncode == 0:
                break
        else:
            pytest.fail(f"the domain did not come up:\n{done.stderr}{done.stdout}")
        lab = Lab.of(folder)
        # the Kerberos library of this process reads it at the first use of a context
        before = os.environ.get("KRB5_CONFIG")
        os.environ["KRB5_CONFIG"] = str(lab.krb5_conf)
        try:
            yield lab
        finally:
            if before is None:
                os.environ.pop("KRB5_CONFIG", None)
            else:
                os.environ["KRB5_CONFIG"] = before
    finally:
        subprocess.run([SCRIPT, "down", folder], capture_output=True, check=False, env=environment, timeout=_STARTING)
        shutil.rmtree(folder, ignore_errors=True)
