"""What an administrator of the domain does before an installation can join it, as lines to copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from certwright.directory.active_directory.doctor import export_line
from certwright.directory.active_directory.settings import DomainSettings


class Step(NamedTuple):
    """One thing to do, with the commands for it on Microsoft's controllers and on Samba's."""

    what: str
    windows: Sequence[str]
    samba: Sequence[str]


def administrator_steps(settings: DomainSettings, hosts: Sequence[str]) -> Sequence[Step]:
    """The account, its names, its keys; in this order, since a new password makes older keys useless.

    Args:
        hosts: every name under which clients reach this host.
    """
    account = settings.account
    holder = f"{settings.netbios_name or settings.dns_domain}\\{account}"
    names = [f"HTTP/{host}" for host in hosts]
    return (
        Step(
            "Make the service account, an ordinary user with AES keys whose password does not expire.",
            [
                f"New-ADUser -Name {account} -SamAccountName {account} -Enabled $true -PasswordNeverExpires $true"
                " -KerberosEncryptionType AES128,AES256 -AccountPassword (Read-Host -AsSecureString)"
            ],
            [f"samba-tool user create {account}", f"samba-tool user setexpiry {account} --noexpiry"],
        ),
        Step(
            "Register every name of this host on it, and on nothing else.",
            [f"setspn -S {name} {holder}" for name in names],
            [f"samba-tool spn add {name} {account}" for name in names],
        ),
        Step(
            "Export its keys: one for the account itself, one for each name. On Windows each line sets the password"
            " anew; give the same one each time, or the older keys no longer fit.",
            [
                export_line(account, settings, "svc.keytab"),
                *(export_line(name, settings, "http.keytab") for name in names),
            ],
            [
                f"samba-tool domain exportkeytab svc.keytab --principal={account}",
                *(f"samba-tool domain exportkeytab http.keytab --principal={name}" for name in names),
            ],
        ),
    )
