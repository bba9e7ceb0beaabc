"""What strangers send to CEP, CES and the CA, as targets of a fuzzer: bytes in, the errors that a reader may raise.

Run one by hand, as long as it shall take: `python -m tests.fuzz.targets cms FOLDER -max_total_time=600`.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import atheris

with atheris.instrument_imports(include=["certwright.wire", "certwright.pki", "certwright.ca.intake"]):
    from certwright.adcs.errors import AdcsError
    from certwright.adcs.request import RequestFlags
    from certwright.ca.intake.errors import IntakeError
    from certwright.ca.intake.messages import is_message, read_message
    from certwright.pki import ber
    from certwright.pki.cmc import PkiData, PkiResponse
    from certwright.pki.errors import EncodingError
    from certwright.pki.inner_requests import inner_request
    from certwright.pki.signed_data import SignedData
    from certwright.wire import soap, wstep, xcep
    from certwright.wire.soap import Message
    from certwright.wire.wstep import EnrollmentDetail, RequestSecurityToken, TokenResponse
    from certwright.wire.xcep import GetPolicies, PolicyResponse

_NOW: Final = datetime(2026, 1, 10, 9, 1, tzinfo=UTC)


def soap_messages(data: bytes) -> None:
    """Envelopes, as both sides read them."""
    try:
        message = Message.parse(data, wstep.MAX_REQUEST)
    except AdcsError:
        return
    readers: tuple[Callable[[], object], ...] = (
        lambda: GetPolicies.parse(message.body).encode(),
        lambda: RequestSecurityToken.parse(message.body).encode(),
        lambda: PolicyResponse.parse(message.body).encode(),
        lambda: TokenResponse.parse(message.body).encode(),
        lambda: EnrollmentDetail.parse(soap.parse_fault(message.body)[2]),
        lambda: message.user_name_token(_NOW),
        lambda: message.demand_action(xcep.GET_POLICIES),
    )
    for read in readers:
        with suppress(AdcsError):
            read()


def cms(data: bytes) -> None:
    """Signed messages as the CA takes them in: BER, signatures, the request inside."""
    with suppress(EncodingError):
        ber.to_der(data, max_octets=65536)
    with suppress(EncodingError):
        SignedData.parse(data)
    if is_message(data):
        with suppress(IntakeError):
            read_message(data, RequestFlags.DETECT)
    with suppress(EncodingError):
        inner_request(data)


def cmc(data: bytes) -> None:
    """What stands in CMC, without the signature around it: the fuzzer would not get through that."""
    with suppress(EncodingError):
        found = PkiData.parse(data)
        found.registration_information()
        for number, request in found.requests:
            with suppress(EncodingError):
                found.added_attributes(number)
            with suppress(EncodingError):
                inner_request(request)
    with suppress(EncodingError):
        PkiResponse.parse(data)


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {"soap": soap_messages, "cms": cms, "cmc": cmc}
_MEMORY: Final = 1024  # MiB that a target may take beyond what it began with


def main() -> None:
    """The fuzzer measures memory by its high-water mark, which a process inherits from the one that started it."""
    name, *rest = sys.argv[1:]
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    atheris.Setup([sys.argv[0], f"-rss_limit_mb={inherited + _MEMORY}", *rest], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
