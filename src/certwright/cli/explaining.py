"""`certwright explain`: what is in a request, certificate, CRL or SCEP message."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from certwright.cli.session import JsonOption


def explain(
    file: Annotated[
        str, typer.Argument(help="A PKCS#10 request, certificate, CRL or SCEP message; - reads standard input.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what is in a request, certificate, CRL or SCEP message, Microsoft's extensions and attributes by name."""
    from certwright.cli.files import read_file
    from certwright.cli.output import print_json
    from certwright.pki.explain import MAX_INPUT
    from certwright.wire.explain_scep import explain_any

    tree = explain_any(read_file(file, MAX_INPUT))
    if as_json:
        print_json(tree.to_dict())
    else:
        sys.stdout.writelines(f"{line}\n" for line in tree.lines())
