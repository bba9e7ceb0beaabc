"""Numbers that other programs know: CA properties, CA types, event IDs. [MS-WCCE] 3.2.1.4.3.2, 2.2.2.4."""

from __future__ import annotations

from datetime import UTC, datetime

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.properties import LATEST, CaProperty, CaType


def test_properties_have_the_numbers_of_certsrv_h() -> None:
    numbers = {
        CaProperty.CA_NAME: 6,
        CaProperty.SANITIZED_CA_NAME: 7,
        CaProperty.CA_TYPE: 0xA,
        CaProperty.CA_SIGNATURE_CERTIFICATE: 0xC,
        CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN: 0xD,
        CaProperty.BASE_CRL: 0x11,
        CaProperty.DELTA_CRL: 0x12,
        CaProperty.DNS_NAME: 0x16,
        CaProperty.TEMPLATES: 0x1D,
        CaProperty.CA_CERTIFICATE_VERSION: 0x27,
        CaProperty.OCSP_URLS: 0x2B,
    }
    assert all(member.value == number for member, number in numbers.items())
    assert LATEST == 0xFFFFFFFF


def test_ca_types_leave_out_number_2() -> None:
    assert [(kind.value, kind.is_enterprise, kind.is_root) for kind in CaType] == [
        (0, True, True),
        (1, True, False),
        (3, False, True),
        (4, False, False),
    ]


def test_events_have_the_numbers_of_windows() -> None:
    assert (AuditEvent.REQUEST_RECEIVED, AuditEvent.CERTIFICATE_ISSUED) == (4886, 4887)
    assert (AuditEvent.REQUEST_DENIED, AuditEvent.REQUEST_PENDED) == (4888, 4889)
    assert (AuditEvent.CERTIFICATE_REVOKED, AuditEvent.CRL_PUBLISHED) == (4870, 4872)
    windows = [event for event in AuditEvent if event < 9000]
    # below 100: of the application log; 5120 to 5127: OCSP
    assert [event.value for event in windows] == [65, 66, 74, 75, *range(4868, 4901), 5123, 5126]
    assert all(event >= 9001 for event in AuditEvent if event not in windows)


def test_an_event_needs_no_details() -> None:
    event = CaEvent(AuditEvent.SERVICE_STARTED, datetime(2025, 1, 1, tzinfo=UTC), "Corp CA", "CORP\\admin")
    assert dict(event.details) == {}
