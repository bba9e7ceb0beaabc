"""The command's root: nouns, options that every command has, and the one place where errors become sentences.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from certwright import __version__
from certwright.cli import (
    accounts,
    auditing,
    authorities,
    backing_up,
    ca_health,
    ca_renewal,
    certificates,
    device_users,
    doctoring,
    domains,
    enrolling,
    enrolling_by_policy,
    establishing,
    explaining,
    initializing,
    inventory,
    ndes,
    notifications,
    orders,
    renewal,
    requests,
    responder,
    responder_elsewhere,
    services,
    serving,
    templates,
    tls,
)

application = typer.Typer(
    name="certwright",
    help="Active Directory Certificate Services on any platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help costs more time to import than everything else here
    context_settings={"help_option_names": ["-h", "--help"]},
)
application.command("init")(initializing.init)
application.command("run")(serving.run)
application.command("serve")(serving.serve)
application.command("worker")(serving.worker)
application.command("explain")(explaining.explain)
application.command("enroll")(enrolling.enroll)
application.command("renew")(enrolling_by_policy.renew)
application.command("backup")(backing_up.backup)
application.command("restore")(backing_up.restore)
application.add_typer(accounts.commands, name="account")
application.add_typer(templates.commands, name="template")
application.add_typer(authorities.commands, name="ca")
authorities.commands.add_typer(establishing.commands)  # without a name: more verbs of the same noun
authorities.commands.add_typer(ca_renewal.commands)
authorities.commands.add_typer(ca_health.commands)
application.add_typer(requests.commands, name="request")
application.add_typer(certificates.commands, name="certificate")
application.add_typer(auditing.commands, name="audit")
application.add_typer(tls.commands, name="tls")
application.add_typer(responder.commands, name="responder")
responder.commands.add_typer(responder_elsewhere.commands)
application.add_typer(domains.commands, name="domain")
application.add_typer(doctoring.commands, name="doctor")
application.add_typer(device_users.commands, name="device-user")
application.add_typer(services.commands, name="service")
application.add_typer(orders.commands, name="order")
application.add_typer(inventory.commands, name="inventory")
application.add_typer(renewal.commands, name="renewal")
application.add_typer(ndes.commands, name="ndes")
application.add_typer(notifications.commands, name="notification")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"certwright {__version__}")
        raise typer.Exit


@application.callback()
def root(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            envvar="CERTWRIGHT_HOME",
            metavar="FOLDER",
            help="The home folder; ./certwright-home when not given.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Active Directory Certificate Services on any platform."""
    if home is not None:
        os.environ["CERTWRIGHT_HOME"] = str(home)


def main() -> None:
    """The entry point."""
    try:
        application(prog_name="certwright")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - every error becomes a sentence, here and nowhere else
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    """One red sentence on standard error, and exit status 1."""
    if os.environ.get("CERTWRIGHT_TRACEBACK"):
        raise error
    from certwright.cli.output import print_error, sentence_of

    print_error(sentence_of(error))
    sys.exit(1)
