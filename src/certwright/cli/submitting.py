"""`certwright-submit`: certmonger's helper, also under the name cepces-submit, which samba-gpupdate looks for.

A command of its own, for the way it is called: by a daemon, with its arguments from the environment, for one answer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from certwright.connectors.ces import PolicyServer
    from certwright.connectors.soap import Logon

HELPERS: Final = (Path("/usr/libexec/certmonger"), Path("/usr/lib/certmonger"))
"""Where certmonger and samba-gpupdate look for helpers; which of them it is depends on the distribution."""
GROUP_POLICY: Final = (Path("/var/cache/samba/certs"), Path("/var/lib/samba/certs"))
"""Where samba-gpupdate puts the CA certificates that it read from the directory."""
_WORDS: Final = {"kerberos": "Kerberos", "usernamepassword": "UsernamePassword", "certificate": "Certificate"}


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point."""
    asked = _parser().parse_args(arguments)
    if asked.install_as:
        sys.exit(_install(asked.install_as, asked.folder))
    from certwright.client.certmonger import Helper

    answer = Helper(os.environ, lambda: _server(asked), poll_every=asked.poll_interval).run()
    if answer.output:
        sys.stdout.write(f"{answer.output}\n")
    sys.exit(answer.status.value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="certwright-submit",
        description="certmonger's helper for CAs that are reached over enrollment web services (CEP and CES).",
    )
    parser.add_argument("--server", default="", metavar="HOST", help="the CA's host, which has CEP on port 443")
    parser.add_argument("--endpoint", default="", metavar="URL", help="the address of CEP, where it is another")
    parser.add_argument(
        "--auth",
        type=str.lower,
        default="kerberos",
        choices=sorted(_WORDS),
        help="how to log on: Kerberos (default), UsernamePassword or Certificate",
    )
    parser.add_argument("--cas", default="", metavar="FILE", help="trust only the certificates of this PEM file")
    parser.add_argument("--keytab", default="", metavar="FILE", help="of this host, for Kerberos; /etc/krb5.keytab")
    parser.add_argument("--principal", default="", metavar="NAME", help="as whom, where the keytab has several")
    parser.add_argument("--ccache", default="", metavar="NAME", help="use these tickets instead of a keytab")
    parser.add_argument("--user", default="", metavar="NAME", help="for UsernamePassword")
    parser.add_argument("--password-file", default="", metavar="FILE", help="its first line is the password")
    parser.add_argument("--certfile", default="", metavar="FILE", help="for Certificate (PEM)")
    parser.add_argument("--keyfile", default="", metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--poll-interval", type=int, default=3600, metavar="SECONDS", help="how often to ask for what waits"
    )
    parser.add_argument(
        "--install-as", default="", metavar="NAME", help="make this program a helper of that name: cepces-submit"
    )
    parser.add_argument("--folder", default="", metavar="FOLDER", help="where to, with --install-as")
    return parser


def _server(asked: argparse.Namespace) -> PolicyServer:
    """Raises:
    ConfigurationError: what is needed is not given.
    """
    from certwright.adcs.errors import ConfigurationError
    from certwright.client.logons import pem_of_folders, trust_of
    from certwright.connectors.ces import PolicyServer
    from certwright.connectors.soap import Endpoint

    if not asked.server and not asked.endpoint:
        raise ConfigurationError("give the CA's host with --server, or the address of CEP with --endpoint")
    url = asked.endpoint or f"https://{asked.server}/ADPolicyProvider_CEP_{_WORDS[asked.auth]}/service.svc/CEP"
    also = "" if asked.cas else pem_of_folders(GROUP_POLICY)
    return PolicyServer(Endpoint(url), _logon(asked), trust_of(asked.cas, "", also))


def _logon(asked: argparse.Namespace) -> Logon:
    from certwright.adcs.errors import ConfigurationError
    from certwright.client.logons import HOST_KEYTAB, by_kerberos, password_in
    from certwright.connectors.service import ServiceCredential
    from certwright.connectors.soap import CertificateLogon, UserNameLogon

    if asked.auth == "usernamepassword":
        return UserNameLogon(ServiceCredential.password(asked.user, password_in(asked.password_file)))
    if asked.auth == "certificate":
        if not asked.certfile or not asked.keyfile:
            raise ConfigurationError("give the certificate to log on with: --certfile and --keyfile")
        return CertificateLogon(Path(asked.certfile), Path(asked.keyfile))
    if asked.ccache:
        os.environ["KRB5CCNAME"] = asked.ccache
        return by_kerberos("", None)
    keytab = Path(asked.keytab) if asked.keytab else HOST_KEYTAB
    usable = bool(asked.keytab) or os.access(keytab, os.R_OK)
    return by_kerberos(asked.principal, keytab if usable else None)


def _install(name: str, folder: str) -> int:
    """A link to this very program where helpers are looked for; one of ours is replaced, nobody else's."""
    program = Path(sys.argv[0]).absolute()
    if Path(name).name != name or not program.exists():
        sys.stderr.write(f"error: {name!r} is no name for a helper, or {program} is not where this program is\n")
        return 2
    target = (Path(folder) if folder else next((each for each in HELPERS if each.is_dir()), HELPERS[0])) / name
    if target.is_symlink() and target.readlink().name == program.name:
        target.unlink()
    elif target.exists() or target.is_symlink():
        sys.stderr.write(f"error: {target} is there already and is not this program; remove it first\n")
        return 1
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(program)
    except OSError as error:
        sys.stderr.write(f"error: {target} cannot be made: {error.strerror}\n")
        return 1
    sys.stdout.write(f"{target} is {program}\n")
    return 0


if __name__ == "__main__":
    main()
