"""`certwright run`, `serve` and `worker`: the processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.session import HomeOption, home_folder

if TYPE_CHECKING:
    from certwright.server.home import Home

BindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bind",
        metavar="ADDRESS",
        help="Listen on this address instead of those in certwright.toml; 0.0.0.0 for all. May be repeated.",
    ),
]


def run(bind: BindOption = None, home: HomeOption = None) -> None:
    """Run everything in the foreground: all listeners, the CA and the worker. SIGTERM stops it cleanly."""
    from certwright.server import running

    running.run(home_folder(home), bind=bind or (), ready=_announce)


def serve(bind: BindOption = None, home: HomeOption = None) -> None:
    """Run the listeners and the CA without the worker."""
    from certwright.server import running

    running.run(home_folder(home), bind=bind or (), with_worker=False, ready=_announce)


def worker(home: HomeOption = None) -> None:
    """Run the worker alone: CRLs, our own certificate, orders, renewals, notifications, upkeep of the database."""
    from certwright.server import running

    running.run_worker(home_folder(home), ready=lambda home: _print(f"Certwright's worker runs on {home.folder}."))


def _announce(home: Home) -> None:
    """The ready line: once, on standard output, when every listener answers."""
    settings = home.settings
    parts = [
        f"Certwright is ready: {settings.https_url}/",
        f"web enrollment {settings.https_url}/certsrv/",
        f"CRLs and CA certificates {settings.http_url}/CertEnroll/",
        f"root certificate {home.root_certificate}",
    ]
    if home.administrator_password.exists():
        parts.append(f"the Administrator's first password is in {home.administrator_password}")
    _print("; ".join(parts))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
