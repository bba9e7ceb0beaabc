"""msPKI-Enrollment-Servers: five lines in the directory, one line for people. [MS-ADA2] 2.612."""

from __future__ import annotations

import pytest

from certwright.adcs.enrollment_servers import (
    ClientAuthentication,
    EnrollmentServer,
    parse_enrollment_servers,
    write_enrollment_servers,
)

URL = "https://ca.corp.example/Corp_CES_Kerberos/service.svc/CES"


def test_value_is_five_lines() -> None:
    """As certutil -enrollmentserverurl writes it, the line ends invisible in its output."""
    assert EnrollmentServer(1, ClientAuthentication.PASSWORD, URL).encode() == f"1\n4\n0\n{URL}\n0".encode()
    renewing = EnrollmentServer(1, ClientAuthentication.CERTIFICATE, URL, True, True)
    assert renewing.encode() == f"1\n8\n1\n{URL}\n1".encode()


def test_text_survives() -> None:
    text = f"1 kerberos {URL}; 2 certificate {URL} renewal-only key-based-renewal"
    assert write_enrollment_servers(parse_enrollment_servers(text)) == text
    assert parse_enrollment_servers("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "kerberos",
        f"x kerberos {URL}",
        f"1 magic {URL}",
        "1 kerberos http://ca.corp.example/",
        "1 kerberos",
        f"1 kerberos {URL} often",
        ";".join([f"1 kerberos {URL}"] * 21),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_enrollment_servers(text)
