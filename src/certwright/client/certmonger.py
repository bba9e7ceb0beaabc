"""certmonger's helper for CAs behind enrollment web services: one operation by its environment, one answer.

certmonger's external helper protocol: CERTMONGER_OPERATION says what to do, standard output holds the result, the
exit status what it means. samba-gpupdate and certmonger call it as they call cepces-submit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from certwright import __version__
from certwright.adcs.errors import (
    AdcsError,
    CaUnreachable,
    ConfigurationError,
    InvalidArgument,
    NoSuchRequest,
)
from certwright.adcs.request import Disposition, RequestAttributes, Response, template_attributes
from certwright.connectors.ces import CesConnection, Place, PolicyServer, place_of
from certwright.connectors.chains import completed
from certwright.connectors.errors import LogonRefused, PagesForbidden
from certwright.connectors.soap import Endpoint
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError

MAX_CSR: Final = 64 * 1024
POLL_EVERY: Final = 3600


class Status(IntEnum):
    """What certmonger understands by an exit status."""

    ISSUED = 0
    WAIT = 1
    REJECTED = 2
    UNREACHABLE = 3
    UNDERCONFIGURED = 4
    WAIT_WITH_DELAY = 5
    UNSUPPORTED = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """`output` without the last end of line."""

    status: Status
    output: str = ""


class Helper:
    """Does one operation.

    Args:
        environment: certmonger's variables.
        server: makes the policy server with its logon, when an operation needs it.
        poll_every: seconds until certmonger asks again for what waits.
    """

    def __init__(
        self, environment: Mapping[str, str], server: Callable[[], PolicyServer], *, poll_every: int = POLL_EVERY
    ) -> None:
        self._environment = environment
        self._make = server
        self._poll_every = poll_every

    def run(self) -> Answer:
        """The answer to whatever is asked; failures too are answers."""
        operations: Mapping[str, Callable[[], Answer]] = {
            "": self._submit,
            "SUBMIT": self._submit,
            "POLL": self._poll,
            "IDENTIFY": lambda: Answer(Status.ISSUED, f"Certwright {__version__}"),
            "FETCH-ROOTS": self._roots,
            "GET-SUPPORTED-TEMPLATES": self._templates,
            "GET-DEFAULT-TEMPLATE": lambda: Answer(Status.ISSUED),
            "GET-NEW-REQUEST-REQUIREMENTS": lambda: Answer(Status.ISSUED, "CERTMONGER_CSR"),
            "GET-RENEW-REQUEST-REQUIREMENTS": lambda: Answer(Status.ISSUED, "CERTMONGER_CSR"),
        }
        wanted = operations.get(self._environment.get("CERTMONGER_OPERATION", ""))
        if wanted is None:
            return Answer(Status.UNSUPPORTED)
        try:
            return wanted()
        except (LogonRefused, PagesForbidden, ConfigurationError) as error:
            return Answer(Status.UNDERCONFIGURED, error.message)
        except CaUnreachable as error:
            return Answer(Status.UNREACHABLE, error.message)
        except AdcsError as error:
            return Answer(Status.REJECTED, error.message)

    # -- requests

    def _submit(self) -> Answer:
        """certmonger keeps the key, so a renewal is an ordinary request, which needs the right to enroll again."""
        csr = self._environment.get("CERTMONGER_CSR", "")
        if not csr:
            return Answer(Status.UNDERCONFIGURED, "there is no request in CERTMONGER_CSR")
        try:
            request = armor.dearmor(csr, MAX_CSR)
        except EncodingError as error:
            raise InvalidArgument(f"the request in CERTMONGER_CSR cannot be read: {error}") from error
        server = self._make()
        template = self._environment.get("CERTMONGER_CA_PROFILE", "").strip()
        renews = bool(self._environment.get("CERTMONGER_CERTIFICATE"))
        place = place_of(server.policies(), server.logon.kind, template=template, renewal=renews)
        attributes = template_attributes(template) if template else RequestAttributes()
        return self._answered(CesConnection(server, place=place).submit(request, attributes), place)

    def _poll(self) -> Answer:
        number, comma, uri = self._environment.get("CERTMONGER_CA_COOKIE", "").strip().partition(",")
        if not comma or not number.isascii() or not number.isdigit():
            return Answer(Status.UNDERCONFIGURED, "the cookie is none of ours; submit the request again")
        place = Place(b"", Endpoint(uri))
        try:
            return self._answered(CesConnection(self._make(), place=place).retrieve(int(number)), place)
        except NoSuchRequest as error:
            return Answer(Status.REJECTED, f"the CA knows no request {number} any more: {error.message}")

    def _answered(self, response: Response, place: Place) -> Answer:
        if response.is_issued and response.certificate is not None:
            return Answer(Status.ISSUED, armor.armor(armor.CERTIFICATE, response.certificate).strip())
        if response.disposition is Disposition.UNDER_SUBMISSION:
            cookie = f"{response.request_id},{place.endpoint.url}"
            return Answer(Status.WAIT_WITH_DELAY, f"{self._poll_every}\n{cookie}")
        return Answer(Status.REJECTED, response.message)

    # -- what there is

    def _templates(self) -> Answer:
        policies = self._make().policies()
        return Answer(Status.ISSUED, "\n".join(each.common_name for each in policies.policies))

    def _roots(self) -> Answer:
        """A nickname and a certificate each: roots, an empty line for other roots, then what stands between."""
        server = self._make()
        roots: dict[bytes, CertificateView] = {}
        between: dict[bytes, CertificateView] = {}
        for ca in server.policies().cas:
            chain = completed(CertificateView.parse(ca.certificate), server.trust, server.endpoint.address().hostname)
            for view in map(CertificateView.parse, chain):
                (roots if view.is_self_issued else between)[view.der] = view
        listed = [_named(view) for view in roots.values()]
        if between:
            listed += ["", "", *(_named(view) for view in between.values())]
        return Answer(Status.ISSUED, "\n".join(listed))


def _named(view: CertificateView) -> str:
    return f"{view.common_name or view.sha256}\n{armor.armor(armor.CERTIFICATE, view.der).strip()}"
