"""Files of a domain controller's share SYSVOL, by Samba's `smbclient`: implements `policy_objects.PolicyFiles`.

Everything is signed and sealed (SMB 3 encryption). A password goes into a file that only we can read and that is gone
afterwards, never into the arguments of a process; with a keytab, `kinit` gets a ticket into a cache of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from certwright.adcs.errors import AccessDenied, AdcsError, CaUnreachable, ConfigurationError, NotSupported
from certwright.directory.active_directory.group_policy import MAX_FILE
from certwright.directory.active_directory.settings import DomainSettings

PROGRAM: Final = "smbclient"
_SECONDS: Final = 60  # for one command
_SAFE: Final = re.compile(r"[A-Za-z0-9{}./ -]+")
"""What paths below SYSVOL are made of; nothing that the program's own language means something by."""
_ABSENT: Final = ("NT_STATUS_OBJECT_NAME_NOT_FOUND", "NT_STATUS_OBJECT_PATH_NOT_FOUND", "NT_STATUS_NO_SUCH_FILE")
_DENIED: Final = ("NT_STATUS_ACCESS_DENIED", "NT_STATUS_NETWORK_ACCESS_DENIED")
_LOGON: Final = ("NT_STATUS_LOGON_FAILURE", "NT_STATUS_ACCOUNT_", "NT_STATUS_PASSWORD_")
_EXISTS: Final = "NT_STATUS_OBJECT_NAME_COLLISION"
_STATUS: Final = re.compile(r"NT_STATUS_[A-Z_]+")


class Sysvol:
    """The share of one controller, as one account.

    Args:
        settings: the domain, and the account with its password or keytab.
    """

    def __init__(self, host: str, settings: DomainSettings, netbios_name: str) -> None:
        """Raises:
        NotSupported: the program is not on this host.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise NotSupported(
                f"{PROGRAM} is not on this host, and without it SYSVOL cannot be written from here: install the"
                " package smbclient, or follow the steps that are printed"
            )
        self._program = program
        self._host = host
        self._settings = settings
        self._netbios_name = netbios_name

    def read(self, path: str) -> bytes | None:
        with tempfile.TemporaryDirectory(prefix="certwright-") as folder:
            target = Path(folder, "file")
            said = self._run(f'get "{_checked(path)}" "{target}"', folder)
            if said is not None:
                if any(status in said for status in _ABSENT):
                    return None
                raise self._refusal(said, path)
            if target.stat().st_size > MAX_FILE:
                raise ConfigurationError(f"sysvol/{path} has more than {MAX_FILE} octets; it is left as it is")
            return target.read_bytes()

    def write(self, path: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="certwright-") as folder:
            source = Path(folder, "file")
            source.write_bytes(content)
            parent = _checked(path).rpartition("/")[0]
            said = self._run(f'mkdir "{parent}"', folder)
            if said is not None and _EXISTS not in said:
                raise self._refusal(said, parent)
            said = self._run(f'put "{source}" "{path}"', folder)
            if said is not None:
                raise self._refusal(said, path)

    def _run(self, command: str, folder: str) -> str | None:
        """One command; what the program said when it did not succeed.

        Raises:
            CaUnreachable: it took too long.
        """
        environment = {**os.environ, "LC_ALL": "C"}
        options = ["--configfile=/dev/null", f"--option=realm={self._settings.realm}", "--client-protection=encrypt"]
        if self._settings.password:
            options += [f"--authentication-file={self._secret(folder)}", "--use-kerberos=desired"]
        else:
            environment["KRB5CCNAME"] = self._ticket(folder)
            options.append("--use-kerberos=required")
        try:
            done = subprocess.run(
                [self._program, f"//{self._host}/sysvol", *options, "-d0", "-c", command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise CaUnreachable(f"SYSVOL of {self._host} did not answer within {_SECONDS} seconds") from error
        said = f"{done.stdout}\n{done.stderr}"
        # some of its commands complain, and end well all the same
        return said if done.returncode != 0 or _STATUS.search(said) else None

    def _secret(self, folder: str) -> Path:
        path = Path(folder, "secret")
        if not path.exists():
            path.touch(0o600)
            lines = {
                "username": self._settings.account,
                "password": self._settings.password,
                "domain": self._netbios_name,
            }
            path.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()), "utf-8")
        return path

    def _ticket(self, folder: str) -> str:
        """A cache with a ticket of the account.

        Raises:
            ConfigurationError: there is none to be had.
        """
        cache = f"FILE:{folder}/tickets"
        if not Path(folder, "tickets").exists():
            kinit = shutil.which("kinit")
            if kinit is None or self._settings.keytab is None:
                raise ConfigurationError(
                    "SYSVOL takes a ticket, and kinit is not on this host: install krb5-user, or name an account that"
                    " has a password (--user)"
                )
            done = subprocess.run(
                [
                    *(kinit, "-k", "-t", str(self._settings.keytab), "-c", cache),
                    f"{self._settings.account}@{self._settings.realm}",
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                raise ConfigurationError(f"{self._settings.account} gets no ticket: {done.stderr.strip()[:300]}")
        return cache

    def _refusal(self, said: str, path: str) -> AdcsError:
        status = _STATUS.search(said)
        words = status[0] if status is not None else said.strip()[:200]
        account = f"{self._netbios_name}\\{self._settings.account}"
        if any(each in said for each in _DENIED):
            return AccessDenied(
                f"{account} may not write sysvol/{path}: let an administrator of the domain do it once (--user,"
                " --user-password-file), or give the account Edit settings on this policy in Group Policy Management"
            )
        if any(each in said for each in _LOGON):
            return AccessDenied(f"{account} is not let in at SYSVOL of {self._host}: {words}")
        return CaUnreachable(f"SYSVOL of {self._host}: {words}")


def _checked(path: str) -> str:
    """Raises:
    ConfigurationError: the path has characters that none of SYSVOL's has.
    """
    if not _SAFE.fullmatch(path) or ".." in path:
        raise ConfigurationError(f"{path[:200]!r} is no path of a Group Policy")
    return path
