"""Doors through which requests come to a CA: /certsrv, CEP and CES, their addresses and how they stand.

What is taken at each is set in the CA's configuration: channel-binding, ntlm, negotiate, basic, list-all-templates,
renewal-only, renewal-on-behalf, enrollment-ntlm, enrollment-servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from ninja import Router

from certwright.cep import application as cep
from certwright.ces import application as ces
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, administer, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.shapes import Told
from certwright.console.pages.enrollment import SCHEMES, key_based, last_day
from certwright.console.rooms import rooms
from certwright.wire.xcep import ClientAuthentication

router = Router(tags=["Enrollment services"])

_LOGONS: Final = {
    ClientAuthentication.KERBEROS: "kerberos",
    ClientAuthentication.USER_NAME: "user name",
    ClientAuthentication.CERTIFICATE: "certificate",
}


class Address(Told):
    logon: str  # how clients log on there
    url: str  # empty where nobody listens
    key_based: bool  # for renewals by key alone


class WebEnrollment(Told):
    """Of the last 24 hours: requests, and how many of them were refused; each ends at `counted`."""

    url: str
    state: str  # ok, down
    schemes: list[str]  # that are taken
    channel_binding: str  # require, allow or off
    requests: int
    refusals: int
    counted: int
    last_request: datetime | None


class WebService(Told):
    addresses: list[Address]
    settings: dict[str, str]


class EnrollmentServices(Told):
    """One CA is served by the listeners of this host; of another one everything is null."""

    serves: bool
    certsrv: WebEnrollment | None
    cep: WebService | None
    ces: WebService | None


_CEP_SETTINGS: Final = ("list-all-templates", "enrollment-ntlm", "channel-binding")
_CES_SETTINGS: Final = ("renewal-only", "renewal-on-behalf", "enrollment-ntlm", "channel-binding")


@operation(router, "GET", "/cas/{ca}/enrollment-services", EnrollmentServices)
def get_enrollment_services(request: ApiRequest, ca: CaName) -> EnrollmentServices:
    """Show the doors to a CA: addresses, what is taken there, and the last day of /certsrv."""
    standing = ca_of(request.viewer, ca)
    if next(iter(rooms().registry.configs()), "") != standing.config:
        return EnrollmentServices(serves=False, certsrv=None, cep=None, ces=None)
    admin = administer(request.viewer, ca)
    settings = admin.configuration()
    schemes = [name for key, name in SCHEMES if settings[key] == "on"]
    day: dict[str, Any] = last_day(admin, rooms().clock())
    last = day["last"]
    return EnrollmentServices(
        serves=True,
        certsrv=WebEnrollment(
            url=f"https://{request.get_host()}/certsrv/",
            state="ok" if schemes and rooms().listeners().get("issuers", True) else "down",
            schemes=schemes,
            channel_binding=settings["channel-binding"],
            requests=day["requests"],
            refusals=day["refusals"],
            counted=day["counted"],
            last_request=last["submitted_when"] if last else None,
        ),
        cep=WebService(
            addresses=[*_addresses(request, lambda kind: cep.address(kind)), *_by_key(request)],
            settings={key: settings[key] for key in _CEP_SETTINGS},
        ),
        ces=WebService(
            addresses=_addresses(request, lambda kind: ces.address(standing.name, kind)),
            settings={key: settings[key] for key in _CES_SETTINGS},
        ),
    )


def _addresses(request: ApiRequest, path: Any) -> list[Address]:
    return [
        Address(logon=word, url=_url(request, kind, path(kind)), key_based=False) for kind, word in _LOGONS.items()
    ]


def _by_key(request: ApiRequest) -> Sequence[Address]:
    return [
        Address(logon=_LOGONS[kind], url=_url(request, kind, cep.address(kind, key_based=True)), key_based=True)
        for kind in key_based()
    ]


def _url(request: ApiRequest, kind: ClientAuthentication, path: str) -> str:
    if kind is ClientAuthentication.CERTIFICATE:
        return rooms().certificate_url and rooms().certificate_url + path
    return f"https://{request.get_host()}{path}"
