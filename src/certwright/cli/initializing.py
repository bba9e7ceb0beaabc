"""`certwright init`: a new home folder."""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Annotated

import typer

from certwright.cli.session import HomeOption, home_folder


class KeyChoice(StrEnum):
    """The keys a CA may have; the same list as `keystores.base.KeyAlgorithm`, which is slow to import."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"


class CasChoice(StrEnum):
    """The same list as `server.initialization.Cas`."""

    TWO_TIER = "two-tier"
    ROOT = "root"
    NONE = "none"


def init(
    hostname: Annotated[
        str,
        typer.Option(
            "--hostname",
            metavar="FQDN",
            help="This host as clients reach it; its own full name where that leads here, else localhost.",
        ),
    ] = "",
    dns_domain: Annotated[
        str, typer.Option("--dns-domain", metavar="DOMAIN", help="The domain; by default the one of the host name.")
    ] = "",
    netbios: Annotated[
        str, typer.Option("--netbios", metavar="NAME", help="The domain's short name; by default its first label.")
    ] = "",
    https_port: Annotated[int, typer.Option("--https-port", min=1, max=65535, help="/certsrv.")] = 8443,
    http_port: Annotated[
        int, typer.Option("--http-port", min=1, max=65535, help="CRLs and CA certificates; stands in certificates.")
    ] = 8080,
    bind: Annotated[
        list[str] | None,
        typer.Option(
            "--bind",
            metavar="ADDRESS",
            help="Address to listen on; this host only by default, 0.0.0.0 for all. May be repeated.",
        ),
    ] = None,
    root_key: Annotated[
        KeyChoice, typer.Option("--root-key", help="The root CA's key.", show_choices=True)
    ] = KeyChoice.RSA_4096,
    ca_key: Annotated[
        KeyChoice, typer.Option("--ca-key", help="The issuing CA's key.", show_choices=True)
    ] = KeyChoice.RSA_3072,
    cas: Annotated[
        CasChoice, typer.Option("--cas", help="Which CAs: a root and an issuing one, the root alone, or none yet.")
    ] = CasChoice.TWO_TIER,
    database: Annotated[
        str,
        typer.Option("--database", metavar="URL", help="sqlite, or postgresql://user:password@host/database, empty."),
    ] = "sqlite",
    admin_password_file: Annotated[
        str,
        typer.Option(
            "--admin-password-file",
            metavar="FILE",
            help="Holds the Administrator's password; - reads standard input. Made up by default.",
        ),
    ] = "",
    home: HomeOption = None,
) -> None:
    """Make a new installation: a root and an issuing CA, a domain with its templates, and TLS for the listeners.

    With --cas root it is for a host without a network, with none for a CA that is signed elsewhere.

    Asks nothing. Refuses a folder that holds one already; when it is interrupted, nothing is left behind.
    """
    from certwright.cli.files import read_password
    from certwright.cli.output import print_line, progress
    from certwright.keystores.base import KeyAlgorithm
    from certwright.server import logs
    from certwright.server.initialization import Cas, Plan, initialize, plan_settings

    logs.configure("error", "console")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it wants nothing left behind
    folder = home_folder(home)
    settings = plan_settings(hostname, https_port, http_port, tuple(bind or ()), database)
    plan = Plan.make(
        settings,
        dns_domain=dns_domain,
        netbios=netbios,
        root_key=KeyAlgorithm(root_key.value),
        ca_key=KeyAlgorithm(ca_key.value),
        cas=Cas(cas.value),
        password=read_password(admin_password_file, option="--admin-password-file") if admin_password_file else "",
    )
    with progress(plan.steps) as step:
        made = initialize(folder, plan, step)
    print_line(f"Certwright is initialised in {made.folder}.")
    print_line(f"  domain               {plan.dns_domain} ({plan.netbios})")
    if plan.cas is Cas.TWO_TIER:
        print_line(f"  CAs                  {plan.root_name}, {plan.issuing_name}")
    elif plan.cas is Cas.ROOT:
        print_line(f"  CA                   {plan.root_name}")
    if plan.cas is not Cas.NONE:
        print_line(f"  root certificate     {made.root_certificate}")
    if made.administrator_password.exists():
        print_line(f"  first password       {made.administrator_password} (of {plan.netbios}\\Administrator)")
    next_command = {
        Cas.TWO_TIER: f"run --home {made.folder}",
        Cas.ROOT: f"ca sign REQUEST-FILE --home {made.folder}",
        Cas.NONE: f"ca create NAME --request FILE --home {made.folder}",
    }[plan.cas]
    print_line(f"  next                 certwright {next_command}")
