"""One gate for every door and every caller: template x door x caller.

No path skips approval, validity, key or name rules, whoever asks and however. A new door is a line in
`tests.support.gates.DOORS`; what the table says holds for it without a change here. Devices, which have no account,
come through a table of their own: `tests/contract/test_scep.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwright.adcs.errors import HResult
from certwright.server.composition import Installation
from tests.support.gates import DOORS, ISSUED, NO_LOGON, PENDING, Gate, Outcome
from tests.support.installation import ISSUING, GateTemplates, Mold, People
from tests.support.requests import (
    PrivateKey,
    alternative_names,
    dns,
    ec_key,
    extended_key_usage,
    make_request,
    name,
    rsa_key,
    sid_extension,
    spki,
    template_name_extension,
    upn,
    web_server_request,
)
from tests.support.server import DOMAIN, RunningServer
from tests.support.weak_keys import roca_key
from tests.support.web_services import with_certificate_port

INSIDE: Final = f"gate.{DOMAIN}"
OUTSIDE: Final = "gate.elsewhere.example"

ENROLLEES: Final = (
    People.ENROLLEE,
    People.COMPUTER,
    People.OFFICER,
    People.CA_ADMINISTRATOR,
    People.ADMINISTRATOR,  # the operator at the command line
)
WITHOUT_RIGHT: Final = (People.PLAIN, People.AUDITOR)  # an account, and a role, without Enroll
CALLERS: Final = (*ENROLLEES, *WITHOUT_RIGHT, People.GONE)

Decision = str | int


@dataclass(frozen=True)
class Case:
    """A request, and what those who may enroll for its template get; `computer` where that differs.

    `names` are what the certificate may say, given the account; `usages` its extended key usages.
    """

    template: str
    request: Callable[[], bytes]
    decision: Decision
    computer: Decision | None = None
    without_right: Decision = HResult.CERTSRV_E_TEMPLATE_DENIED
    attributes: tuple[str, ...] = ()
    key: Callable[[], PrivateKey] = ec_key
    names: Callable[[str], tuple[str, ...]] = lambda _: (INSIDE,)
    longest: timedelta = timedelta(days=731)

    def expected(self, caller: str) -> Decision:
        if caller in WITHOUT_RIGHT:
            return self.without_right
        if caller == People.COMPUTER and self.computer is not None:
            return self.computer
        return self.decision

    @property
    def lines(self) -> tuple[str, ...]:
        return (*((f"CertificateTemplate:{self.template}",) if self.template else ()), *self.attributes)


def asking_for_somebody_else() -> bytes:
    """A user certificate for krbtgt, if names, SID and usages of the request counted."""
    return make_request(
        subject=name(("CN", "krbtgt")),
        extensions=[
            alternative_names(upn(f"krbtgt@{DOMAIN}"), dns(INSIDE)),
            sid_extension("S-1-5-21-1-2-3-500"),
            extended_key_usage("1.3.6.1.4.1.311.20.2.1", "2.5.29.37.0"),
        ],
    )


CASES: Final = {
    "WebServer, inside the rules": Case("WebServer", lambda: web_server_request(INSIDE), ISSUED),
    "WebServer, outside": Case("WebServer", lambda: web_server_request(OUTSIDE), PENDING),
    "WebServer, one of two outside": Case("WebServer", lambda: web_server_request(INSIDE, OUTSIDE), PENDING),
    "WebServer, strict, outside": Case(
        GateTemplates.STRICT, lambda: web_server_request(OUTSIDE), HResult.CERTSRV_E_BAD_REQUESTSUBJECT
    ),
    "approval required": Case(GateTemplates.APPROVAL, lambda: web_server_request(INSIDE), PENDING),
    "SubCA": Case(
        "SubCA", lambda: make_request(subject=name(("CN", "Rogue CA"))), HResult.CERTSRV_E_INVALID_CA_CERTIFICATE
    ),
    "directory template": Case(
        "SmartcardUser",
        asking_for_somebody_else,
        ISSUED,
        computer=HResult.CERTSRV_E_SUBJECT_EMAIL_REQUIRED,
        names=lambda account: (f"{account}@{DOMAIN}".lower(),),
        longest=timedelta(days=366),
    ),
    "unpublished": Case(
        "Workstation",
        lambda: web_server_request(INSIDE),
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
        without_right=HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
    ),
    "unpublished, by extension": Case(
        "",
        lambda: web_server_request(INSIDE, extensions=[template_name_extension("Workstation")]),
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
        without_right=HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
    ),
    "no template": Case(
        "",
        lambda: web_server_request(INSIDE),
        HResult.CERTSRV_E_NO_CERT_TYPE,
        without_right=HResult.CERTSRV_E_NO_CERT_TYPE,
    ),
    "RSA-1024": Case(
        "WebServer",
        lambda: web_server_request(INSIDE, key=rsa_key(1024)),
        HResult.CERTSRV_E_KEY_LENGTH,
    ),
    "ROCA": Case(
        "WebServer",
        lambda: web_server_request(INSIDE, key=roca_key()),
        HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
    ),
    "greedy attributes": Case(
        GateTemplates.SHORT,
        lambda: web_server_request(INSIDE, extensions=[extended_key_usage("1.3.6.1.5.5.7.3.2")]),
        ISSUED,
        attributes=(
            f"SAN:dns={OUTSIDE}&upn=krbtgt@{DOMAIN}",
            "ValidityPeriod:Years",
            "ValidityPeriodUnits:30",
            "ExpirationDate:Wed, 19 May 2049 11:30:00 GMT",
            r"RequesterName:CORP\Administrator",
        ),
        longest=timedelta(days=7, minutes=1),
    ),
}


USAGES: Final = {"SmartcardUser": {"1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.20.2.2"}}


@dataclass(frozen=True)
class House:
    """A server, and the same home opened in this process beside it."""

    server: RunningServer
    installation: Installation
    gates: dict[str, Gate]


@pytest.fixture(scope="module")
def house(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[House]:
    home = with_certificate_port(mold.copy(new_folder()))
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start()
    with Installation.open(home) as installation:
        installation.start_issuers()
        gates = {label: door(server, installation) for label, door in DOORS.items()}
        yield House(server, installation, gates)
        for gate in gates.values():
            gate.close()
    code = server.stop()
    assert code == 0
    assert "Traceback" not in "".join(server.log)


OPERATORS: Final = (People.ADMINISTRATOR, People.OFFICER, People.PLAIN, People.GONE)
"""Who comes through doors that cost a process for every request."""
SLOW_DOORS: Final = ("command line",)

TABLE: Final = [
    pytest.param(
        door, case, caller, marks=[pytest.mark.slow] if door in SLOW_DOORS else [], id=f"{door}-{case}-{caller}"
    )
    for door in DOORS
    for case in CASES
    for caller in (OPERATORS if door in SLOW_DOORS else CALLERS)
]


@pytest.mark.parametrize(("door", "case", "caller"), TABLE)
def test_no_door_and_no_caller_skips_a_rule(house: House, door: str, case: str, caller: str) -> None:
    row, request = CASES[case], CASES[case].request()

    outcome = house.gates[door].submit(caller, request, row.lines)

    if caller == People.GONE:
        # Denied like a stranger, but a template that is not there is found out before the account is looked at.
        refusals = {NO_LOGON, HResult.E_ACCESSDENIED, *({row.decision} if row.without_right == row.decision else ())}
        assert outcome.decision in refusals
    else:
        assert outcome.decision == row.expected(caller)
    assert (outcome.certificate is not None) == (outcome.decision == ISSUED)
    if outcome.certificate is not None:
        examine(row, caller, x509.load_der_x509_certificate(outcome.certificate))
    if outcome.decision != NO_LOGON:
        assert recorded(house, outcome) == caller


def examine(row: Case, caller: str, certificate: x509.Certificate) -> None:
    """A certificate says no more than its template and the name rules allow, whatever was asked for."""
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == spki(row.key())
    assert certificate.not_valid_after_utc <= datetime.now(UTC) + row.longest
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    found = certificate.extensions
    usages = {usage.dotted_string for usage in found.get_extension_for_class(x509.ExtendedKeyUsage).value}
    assert usages == USAGES.get(row.template, {"1.3.6.1.5.5.7.3.1"})
    named = set()
    for general in found.get_extension_for_class(x509.SubjectAlternativeName).value:
        value = general.value
        named.add(value.lower() if isinstance(value, str) else value[2:].decode().lower())  # a UPN: UTF8String
    assert named == set(row.names(caller))
    assert "krbtgt" not in certificate.subject.rfc4514_string()


def recorded(house: House, outcome: Outcome) -> str:
    """The caller in the row of a decision; its state has to be that decision's."""
    assert outcome.request_id is not None
    record = house.installation.cas[0].authority.database.request(outcome.request_id)
    assert record is not None
    assert record.state.name.lower() == (outcome.decision if isinstance(outcome.decision, str) else "denied")
    if not isinstance(outcome.decision, str):
        assert record.status == outcome.decision
    return record.caller_name.partition("\\")[2]


def test_every_rule_that_refused_stands_in_the_log(house: House) -> None:
    """After the table: each denial of the server left a line that names its rule."""
    refused = {event["rule"] for event in house.server.events() if event["event"] == "request_denied"}

    assert refused >= {
        "template_named",
        "template_published",
        "enroll_right",
        "key_quality",
        "name_rules",
    }


def test_what_was_issued_in_the_end_is_in_one_audit_trail(house: House) -> None:
    verified = house.installation.audit.verify()

    assert verified.broken == ()
    assert verified.checked > len(CASES)
    issued = house.installation.audit.events(ca=ISSUING, limit=1)
    assert issued
