"""`certwright tls`: the certificate of our own listeners."""

from __future__ import annotations

import typer

from certwright.cli.session import AsOption, HomeOption, JsonOption, opened

commands = typer.Typer(help="The listeners' own certificate: show and renew.", no_args_is_help=True)


@commands.command("show")
def show(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show the certificate the HTTPS listener presents, and when it is renewed by itself."""
    from certwright.cli.output import print_fields, print_json
    from certwright.pki.certificate import CertificateView

    with opened(home) as session:
        current = session.installation.listener_certificates.current()
    view = CertificateView.parse(current.chain[0])
    fields = {
        "serial_number": view.serial_number,
        "issuer": view.issuer_name,
        "names": [str(name) for name in view.alternative_names],
        "not_before": current.not_before,
        "not_after": current.not_after,
        "renewed_after": current.renew_after,
        "sha1": view.sha1,
        "sha256": view.sha256,
        "key": current.name,
    }
    if as_json:
        print_json(fields)
    else:
        print_fields([(name.replace("_", " "), value) for name, value in fields.items()])


@commands.command("renew")
def renew(as_account: AsOption = "", home: HomeOption = None) -> None:
    """Enroll for a new certificate now. A running server shows it within seconds, without a restart."""
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_line
    from certwright.server.duties import enroll_listener_certificate

    with opened(home, as_account) as session:
        session.installation.demand(session.operator, CaAccess.ADMINISTRATOR)
        enroll_listener_certificate(session.installation)
        current = session.installation.listener_certificates.current()
    print_line(f"The listeners' certificate is renewed; it is valid until {current.not_after:%Y-%m-%d}.")
