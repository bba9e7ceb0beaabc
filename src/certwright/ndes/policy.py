"""Policy modules: who decides whether a device gets what it asks for. After INDESPolicy of certpol.h.

A module answers five calls. `initialize` comes first and `uninitialize` last; between them the others come from
several threads at a time. What it does not answer, or answers by an exception, counts as no: a device gets nothing
because a module failed. Rules of the CA and of its templates hold whatever a module says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Protocol, runtime_checkable

from certwright.adcs.requester import Requester
from certwright.database import Connection

MAX_CHALLENGE: Final = 8 << 10
"""Characters of a challenge; those of Intune have up to 4 Ki."""


class Disposition(IntEnum):
    """What became of a request: X509SCEPDisposition."""

    SUCCESS = 0
    FAILURE = 2
    PENDING = 3


@dataclass(frozen=True, slots=True)
class ModuleContext:
    """What a module is told when it begins."""

    service: str  # empty: the one at the classic addresses
    options: str = ""  # setting policy-options
    ca_certificate: Callable[[], bytes] = field(default=lambda: b"")  # of the CA that issues, DER


@dataclass(frozen=True, slots=True)
class ChallengeAsked:
    """Somebody wants a challenge for a device."""

    requester: Requester  # who asks; that it may was looked at
    template: str = ""  # cn; empty: any of the service's
    names: tuple[str, ...] = ()  # patterns that names in the request must match; none: any
    parameters: str = ""  # what an MDM adds, for the module alone


@dataclass(frozen=True, slots=True)
class RequestAsked:
    """A device wants a certificate; the message's signature and its proof of possession were verified."""

    request: bytes  # PKCS#10, DER
    challenge: str  # empty where it brings none
    signer: bytes | None  # the certificate that is renewed, DER; None for a first request
    template: str  # cn
    transaction: str
    names: tuple[str, ...]  # what names the device in subject and alternative names
    peer: str  # its address


class Claim(Protocol):
    """What an accepted request uses up, in the transaction that notes the request: so it is used once."""

    def take(self, connection: Connection) -> None:
        """Raises:
        Rejected: somebody was faster.
        """

    def give_back(self, connection: Connection) -> None:
        """The CA could not be asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A module's answer about a request."""

    accepted: bool
    rule: str = ""  # why not, for the log
    text: str = ""  # why not, for the device; says nothing about secrets
    claim: Claim | None = None

    @classmethod
    def yes(cls, claim: Claim | None = None) -> Verdict:
        return cls(True, claim=claim)

    @classmethod
    def no(cls, rule: str, text: str = "") -> Verdict:
        return cls(False, rule, text)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the CA said, once for every change. After a poll request and challenge are empty: none was sent."""

    disposition: Disposition
    transaction: str
    template: str
    request: bytes  # PKCS#10, DER
    challenge: str
    request_id: int  # of the CA; 0 where it took nothing
    status: int  # HRESULT
    message: str
    certificate: bytes | None


class Rejected(Exception):
    """Not accepted, said late. `rule` as of a verdict."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class PolicyUnavailable(Exception):
    """A module cannot say now: the device is asked to come back, and gets nothing until then."""


class PolicyModule(Protocol):
    """INDESPolicy."""

    def initialize(self, context: ModuleContext) -> None:
        """Called once, before everything else.

        Raises:
            AdcsError: it cannot work like this; every request is refused for now, and it is tried again.
        """

    def generate_challenge(self, asked: ChallengeAsked) -> str:
        """A challenge to be handed to a device.

        Raises:
            AdcsError: none is given; the sentence is for whoever asked.
            PolicyUnavailable: not now.
        """

    def verify_request(self, asked: RequestAsked) -> Verdict:
        """May this device have what it asks for? Renewals come too, with the certificate that signed.

        Raises:
            PolicyUnavailable: not now.
        """

    def notify(self, outcome: Outcome) -> None:
        """What became of it. Whatever this raises is logged and changes nothing."""

    def uninitialize(self) -> None:
        """No further call comes."""


@runtime_checkable
class KeepsNotices(Protocol):
    """A module that must miss no outcome. In the place of `notify` these two are called.

    The notice is written down in the transaction that notes the outcome, and told from there: in order for each
    transaction of a device, again after a failure or a crash, until it is taken or a day is over. One that was told
    in the moment of a crash is told twice, under the same number.
    """

    def notice_of(self, outcome: Outcome) -> Mapping[str, Any]:
        """What is to be told, as JSON can hold it."""

    def tell(self, number: int, notice: Mapping[str, Any]) -> None:
        """Hand a notice on.

        Raises:
            PolicyUnavailable: it was not taken.
        """
