"""`python -m bench`: one table of ratios; the status is 1 when a bound is missed, 2 when the machine is too busy."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from bench import (
    certsrv,
    crl,
    devices,
    domain,
    enrollment_services,
    issuance,
    ocsp,
    peers,
    responders,
    revocation,
    start,
)
from bench.measure import MAX_ROUNDS, ROUNDS, SLICE_SECONDS, MachineTooBusy, Outcome, Report, Suite, measure

SUITES: dict[str, Callable[..., Suite]] = {
    "issuance": issuance.suite,
    "certsrv": certsrv.suite,
    "enrollment-services": enrollment_services.suite,
    "devices": devices.suite,
    "crl": crl.suite,
    "ocsp": ocsp.suite,
    "responders": responders.suite,
    "revocation": revocation.suite,
    "start": start.suite,
    "domain": domain.suite,
    "peers": peers.suite,
}
ALWAYS = ("issuance", "certsrv", "enrollment-services", "devices", "crl", "ocsp", "responders", "start")
SIZED = frozenset({"revocation"})
"""Suites that do less with --quick, because what they do takes long."""

WIDTH = 130
"""Columns of the table where no terminal says how many it has."""


def _sizes(name: str, options: argparse.Namespace) -> dict[str, int | bool]:
    """What a suite is told about how much to do."""
    if name == "domain":
        return {"principals": max(options.principals, 0)}
    return {"quick": options.quick} if name in SIZED else {}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure speed, as ratios taken in one run.")
    parser.add_argument(
        "suite",
        nargs="*",
        choices=[[], *SUITES],
        help="what to measure; all but domain, peers and revocation by default",
    )
    parser.add_argument("--peers", action="store_true", help="also run other CAs beside ours, those that are here")
    parser.add_argument("--quick", action="store_true", help="three short rounds: a look, not a measurement")
    parser.add_argument(
        "--principals",
        type=int,
        default=0,
        metavar="N",
        help="with domain: a second domain of so many accounts and 500 templates; 100,000 take ten minutes to make",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers of ours end with us
    console = Console(stderr=True)
    rounds, part = (3, 0.5) if options.quick else (ROUNDS, 1.0)
    reports: list[Report] = []
    names = [*(options.suite or ALWAYS), *(["peers"] if options.peers else [])]
    for name in dict.fromkeys(names):
        with console.status(f"{name}: making keys and requests") as status:
            chosen = SUITES[name](**_sizes(name, options))

            def tell(done: int, planned: int, name: str = name) -> None:
                status.update(f"{name}: round {done} of {planned}")

            seconds = part * (chosen.slice_seconds or SLICE_SECONDS)
            try:
                reports.append(measure(chosen, rounds=rounds, seconds=seconds, progress=tell))
            except MachineTooBusy as error:
                console.print(f"{error}; measure again later")
                return 2
            finally:
                chosen.close()
    if options.json:
        json.dump([report.to_dict() for report in reports], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for report in reports:
            show(report, Console(width=None if sys.stdout.isatty() else WIDTH))
    return 1 if any(report.failed for report in reports) and not options.quick else 0


def show(report: Report, console: Console) -> None:
    """A report as a table for people."""
    table = Table(title=report.suite, title_justify="left")
    for column in ("ratio", "median", "80 % of rounds", "rounds", "at least", ""):
        table.add_column(column, justify="left" if column in ("ratio", "") else "right")
    for outcome in report.outcomes:
        table.add_row(
            outcome.name,
            f"{outcome.median:.2f}",
            f"{outcome.low:.2f} - {outcome.high:.2f}",
            str(outcome.rounds),
            "" if outcome.at_least is None else f"{outcome.at_least:.2f}",
            _verdict(outcome),
        )
    console.print(table)
    rates = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in report.rates.items())
    console.print(f"per CPU second, for information: {rates}")
    console.print(f"machine before: {report.before}; after: {report.after}")
    for note in report.notes:
        console.print(note)


def _verdict(outcome: Outcome) -> str:
    if outcome.noisy:
        return f"noisy, even after {MAX_ROUNDS} rounds" if outcome.rounds >= MAX_ROUNDS else "noisy"
    if outcome.at_least is None:
        return ""
    return "missed" if outcome.failed else "ok"


if __name__ == "__main__":
    sys.exit(main())
