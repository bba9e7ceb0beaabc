"""`certwright ca health`: every location that certificates name, asked as a client would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from certwright.cli.establishing import certificates_of
from certwright.cli.session import AsOption, HomeOption, JsonOption, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certwright.location_watch.values import Judgement, WatchedLocation
    from certwright.server.composition import Installation

commands = typer.Typer()

_MAX_FILE = 1 << 20


@commands.command("health")
def health(
    name: Annotated[
        str, typer.Argument(metavar="[CA]", help="One CA only, by its name; all by default, others' too.")
    ] = "",
    stored: Annotated[
        bool, typer.Option("--stored", help="What the worker found when it asked last, instead of asking now.")
    ] = False,
    certificate: Annotated[
        str, typer.Option("--certificate", metavar="FILE", help="The locations of this certificate instead.")
    ] = "",
    issuer: Annotated[
        str, typer.Option("--issuer", metavar="FILE", help="The certificate of the CA that issued FILE.")
    ] = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Ask every CDP, AIA and OCSP location of our CAs and of those that services lead to, as clients do.

    A location is ok when a client would be served there: it answers, what it says can be read, is signed by the right
    CA, and is good for a while yet. Exit status 1 if one of them is down.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_json
    from certwright.location_watch.values import State
    from certwright.server.locations import location_watch

    if issuer and not certificate:
        raise InvalidArgument("--issuer belongs to --certificate")
    with opened(home, as_account) as session:
        readers = CaAccess.READ | CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR | CaAccess.OPERATOR
        if session.installation.cas:
            session.installation.demand(session.operator, readers)
        if certificate:
            found = _of_file(session.installation, certificate, issuer)
        else:
            watch = location_watch(session.installation)
            rows = watch.all() if stored else watch.check_all()
            wanted = [row for row in rows if not name or row.ca.casefold() == name.casefold()]
            if name and not wanted:
                known = ", ".join(sorted({row.ca for row in rows})) or "none"
                raise InvalidArgument(f"no location of a CA called {name!r} is known; known: {known}")
            found = [_described(row) for row in wanted]
    if as_json:
        print_json(found)
    else:
        _print(found)
    if any(each["state"] == State.DOWN for each in found):
        raise typer.Exit(1)


def _described(row: WatchedLocation) -> dict[str, Any]:
    from certwright.location_watch.values import KIND_WORDS

    return {
        "ca": row.ca,
        "kind": KIND_WORDS[row.kind],
        "url": row.url,
        "state": row.state,
        "until": row.until,
        "detail": row.detail,
        "since": row.since,
        "checked": row.checked,
    }


def _of_file(installation: Installation, file: str, issuer_file: str) -> list[dict[str, Any]]:
    """The locations of one certificate; its issuer is the one given, or one that is known here."""
    from certwright.cli.files import read_file
    from certwright.connectors.locations import Locations, locations_of
    from certwright.location_watch.judging import judge
    from certwright.location_watch.values import KIND_WORDS, Subject
    from certwright.pki.certificate import CertificateView
    from certwright.server.locations import Reading, known_issuer

    view, *above = map(CertificateView.parse, certificates_of(read_file(file, _MAX_FILE)))
    if issuer_file:
        above = [CertificateView.parse(each) for each in certificates_of(read_file(issuer_file, _MAX_FILE))]
    given = next((each for each in above if each.subject == view.issuer), None)
    subject = Subject(
        view.issuer_name, view, given or known_issuer(installation, view), locations_of(view), is_example=True
    )
    locations, now = Locations(Reading(installation)), installation.clock()
    judged: list[tuple[Any, Judgement]] = [
        (location, judge(locations, location, subject, now)) for location in subject.locations
    ]
    return [
        {
            "ca": subject.ca,
            "kind": KIND_WORDS[location.kind],
            "url": location.url,
            "state": judgement.state,
            "until": judgement.until,
            "detail": judgement.detail,
            "since": now,
            "checked": now,
        }
        for location, judgement in judged
    ]


def _print(found: Sequence[dict[str, Any]]) -> None:
    from certwright.cli.output import print_line, print_table

    if not found:
        print_line("No certificate names a location.")
        return
    print_table(
        (
            (each["ca"], each["kind"], each["url"], each["state"], each["until"] or "", each["detail"])
            for each in found
        ),
        "ca",
        "kind",
        "location",
        "state",
        "until",
        "detail",
    )
