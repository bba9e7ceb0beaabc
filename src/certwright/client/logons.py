"""How this host logs on: with its keytab, its tickets, a password from a file, a certificate; whom it believes."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from certwright.adcs.errors import ConfigurationError
from certwright.auth.keytab import read_keytab
from certwright.client.enrollments import Auth, Enrollment
from certwright.connectors.service import AuthScheme, ServiceCredential
from certwright.connectors.soap import CertificateLogon, Logon, NegotiateLogon, UserNameLogon
from certwright.connectors.trust import MAX_PINNED, Fingerprint, PinnedFile, SystemTrust, Trust

MAX_SECRET: Final = 64 * 1024
HOST_KEYTAB: Final = Path("/etc/krb5.keytab")


def logon_of(enrollment: Enrollment, password: str = "") -> Logon:
    """How an enrollment logs on.

    Args:
        password: where it was typed, and stands in no file.

    Raises:
        ConfigurationError: a file is missing, or does not hold what it should.
    """
    match enrollment.auth:
        case Auth.KERBEROS:
            return by_kerberos(enrollment.user, Path(enrollment.secret_file) if enrollment.secret_file else None)
        case Auth.CERTIFICATE:
            return CertificateLogon(Path(enrollment.client_certificate), Path(enrollment.client_key))
    if not enrollment.user:
        raise ConfigurationError("name the account with --user")
    return UserNameLogon(ServiceCredential.password(enrollment.user, password or password_in(enrollment.secret_file)))


def by_kerberos(user: str, keytab: Path | None) -> NegotiateLogon:
    """With a keytab as the user, or as this host; without one with the tickets that are there."""
    if keytab is None:
        return NegotiateLogon()
    try:
        data = keytab.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the keytab {keytab} cannot be read: {error.strerror}") from error
    return NegotiateLogon(AuthScheme.KERBEROS, ServiceCredential.keytab(user or principal_in(keytab), data))


def principal_in(keytab: Path, host: str = "") -> str:
    """Whose keytab it is: the machine account (`WEB01$@REALM`), else `host/name@REALM`, else the only name in it.

    Raises:
        ConfigurationError: nobody can tell.
    """
    names = list(dict.fromkeys(entry.principal for entry in read_keytab(keytab)))
    short = (host or socket.gethostname()).partition(".")[0].casefold()
    machines = [name for name in names if name.rpartition("@")[0].endswith("$")]
    ours = [name for name in machines if name.partition("$")[0].casefold() == short]
    hosts = [name for name in names if name.casefold().startswith("host/")]
    for found in (ours, machines, hosts, names if len(names) == 1 else []):
        if found:
            return found[0]
    raise ConfigurationError(f"{keytab} is for {', '.join(names) or 'nobody'}; say as whom to log on with --user")


def password_in(file: str) -> str:
    """The first line of a file.

    Raises:
        ConfigurationError: there is none.
    """
    if not file:
        raise ConfigurationError("no password is kept for this enrollment; name a file with --password-file")
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(MAX_SECRET).decode().partition("\n")[0].removesuffix("\r")
    except OSError as error:
        raise ConfigurationError(f"the password file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the password file {file} is no UTF-8 text") from error
    if not text:
        raise ConfigurationError(f"the first line of {file} is empty")
    return text


def trust_of(ca_file: str, fingerprint: str, also: str = "") -> Trust:
    """Whom to believe: a file, one certificate, or the system (and `also`, PEM).

    Raises:
        ConfigurationError: both are given, or the file cannot be read.
    """
    if ca_file and fingerprint:
        raise ConfigurationError("give --ca-file or --fingerprint, not both")
    if fingerprint:
        return Fingerprint(fingerprint)
    if ca_file:
        return PinnedFile(_pem(Path(ca_file)))
    return SystemTrust(also)


def _pem(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PINNED).decode("ascii", "replace")
    except OSError as error:
        raise ConfigurationError(f"the CA file {path} cannot be read: {error.strerror}") from error


def pem_of_folders(folders: Iterable[Path], limit: int = 50) -> str:
    """What lies in folders as certificates, for `SystemTrust.also`."""
    found = []
    for folder in folders:
        if folder.is_dir():
            found += [_pem(path) for path in sorted(folder.glob("*.crt"))[:limit] if path.is_file()]
    return "".join(found)
