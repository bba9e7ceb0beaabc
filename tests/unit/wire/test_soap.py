"""Envelopes, addressing, faults, and everything a stranger may send. SOAP 1.2, WS-Addressing 1.0, [MS-XCEP] 2.1."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import BadRequest
from certwright.wire import soap, xml
from certwright.wire.soap import Fault, Message, UserNameToken
from certwright.wire.xml import Element, XmlRefused
from tests.support import envelopes

NOW = datetime(2026, 1, 10, 9, 1, tzinfo=UTC)
LIMIT = 64 * 1024
BODY = '<x xmlns="urn:x"/>'


def read(headers: str = "", body: str = BODY, action: str = "urn:act") -> Message:
    return Message.parse(soap.envelope(action, body, headers=headers), LIMIT)


def fault(headers: str = "", body: str = BODY) -> Fault:
    with pytest.raises(Fault) as found:
        read(headers, body)
    return found.value


# -- XML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"   ",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"\xff\xfe<a/>",
        b'<?xml version="1.0" encoding="ebcdic-nonsense"?><a/>',
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>&x;</a>",
        b"<?do it?><a/>",
        b"<a b='1' b='2'/>",
        b"<p:a/>",
        b"<a>\x00</a>",
    ],
)
def test_what_is_no_plain_document_is_refused(document: bytes) -> None:
    with pytest.raises(XmlRefused):
        xml.parse(document, LIMIT)


def test_depth_count_and_size_are_bounded_in_little_time() -> None:
    began = time.process_time()
    for document, words in (
        (b"<a>" * 10_000, "nested deeper than 32"),
        (b"<a>" + b"<b/>" * 10_000 + b"</a>", "more than 2000 elements"),
        (b"<a " + b" ".join(b"a%d='1'" % number for number in range(40)) + b"/>", "attributes"),
        (b"<a>" + b"x" * LIMIT + b"</a>", "bytes"),
        (b"<" + b"a" * 300 + b"/>", "longer than 256"),
    ):
        with pytest.raises(XmlRefused, match=words):
            xml.parse(document, LIMIT)
    assert time.process_time() - began < 2.0


def test_a_comment_never_cuts_a_value_short() -> None:
    """alice@corp<!---->.evil.example is one name, and not alice@corp."""
    assert xml.parse(b"<a>alice@corp<!-- x -->.evil.example</a>", LIMIT).text == "alice@corp.evil.example"


def test_a_child_that_may_stand_once_is_not_chosen_among_two() -> None:
    with pytest.raises(BadRequest, match="stands 2 times"):
        xml.parse(b"<a><b>1</b><b>2</b></a>", LIMIT).one("b")


@given(st.text(max_size=60))
def test_any_text_is_written_so_that_it_is_read_again(value: str) -> None:
    """Characters that XML cannot hold are replaced, never written."""
    made = f'<a b="{xml.attribute(value)}">{xml.text(value)}</a>'.encode("utf-8", "surrogatepass")
    element = xml.parse(made, LIMIT)
    held = "".join(c if xml.text(c) != "\ufffd" or c == "\ufffd" else "\ufffd" for c in value)
    assert element.text.replace("\r", "") == held.replace("\r", "")
    assert element.attributes["b"] == held


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises((XmlRefused, Fault)):
        Message.parse(data, LIMIT)


# -- envelopes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", envelopes.names())
def test_every_example_is_read(name: str) -> None:
    message = Message.parse(envelopes.example(name), LIMIT)

    assert message.action
    assert (message.message_id or message.relates_to).startswith("urn:uuid:")
    assert soap.is_fault(message.body) is (name.startswith("fault") or "fault" in name)


def test_white_space_around_an_action_does_not_count() -> None:
    assert read(action="\n  urn:act \n").demand_action("urn:act") == "urn:act"


def test_an_action_nobody_knows_is_named_in_the_fault() -> None:
    with pytest.raises(Fault) as found:
        read(action="urn:other<&").demand_action("urn:act")
    assert found.value.subcode == "a:ActionNotSupported"
    answer = Message.parse(found.value.encode("urn:uuid:1"), LIMIT)
    assert answer.action == soap.ADDRESSING_FAULT
    assert answer.relates_to == "urn:uuid:1"
    detail = soap.parse_fault(answer.body)[2]
    assert detail is not None
    assert detail.children[0].children[0].text == "urn:other<&"


def test_a_header_that_must_be_understood_and_is_not_is_a_fault() -> None:
    found = fault('<x:Pay xmlns:x="urn:x" s:mustUnderstand="1"/>')
    assert found.code == "MustUnderstand"
    assert 'qname="x:Pay" xmlns:x="urn:x"' in found.encode().decode()
    for headers in (
        '<x:Pay xmlns:x="urn:x"/>',
        '<x:Pay xmlns:x="urn:x" s:mustUnderstand="0"/>',
        '<x:Pay xmlns:x="urn:x" s:mustUnderstand="1" s:role="urn:somebody-else"/>',
    ):
        assert read(headers).body.name == "{urn:x}x"


@pytest.mark.parametrize("header", ["ReplyTo", "FaultTo"])
def test_nobody_is_called_back(header: str) -> None:
    elsewhere = f"<a:{header}><a:Address>http://169.254.169.254/</a:Address></a:{header}>"
    assert fault(elsewhere).subcode == "a:OnlyAnonymousAddressSupported"
    assert read(f"<a:{header}><a:Address>{soap.ANONYMOUS}</a:Address></a:{header}>").action == "urn:act"


@pytest.mark.parametrize("header", ["Action", "To", "MessageID"])
def test_addressing_headers_stand_once(header: str) -> None:
    twice = f"<a:{header}>urn:1</a:{header}>" * 2
    assert fault(twice).subcode == "a:InvalidAddressingHeader"


@pytest.mark.parametrize("body", ["", BODY * 2, "text"])
def test_a_body_holds_one_element(body: str) -> None:
    assert fault(body=body).subcode == "d:DeserializationFailed"


def test_another_version_of_soap_is_named() -> None:
    with pytest.raises(Fault) as found:
        Message.parse(b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>', LIMIT)
    assert found.value.code == "VersionMismatch"
    with pytest.raises(XmlRefused):
        Message.parse(b"<html/>", LIMIT)


# -- user name and password ------------------------------------------------------------------------------------------


def security(
    user: str = "alice@corp.example", password: str = "Correct-Horse-9", extra: str = "", kind: str = ""
) -> str:
    return (
        f'<o:Security s:mustUnderstand="1">{extra}<o:UsernameToken><o:Username>{user}</o:Username>'
        f"<o:Password{kind}>{password}</o:Password></o:UsernameToken></o:Security>"
    )


def test_windows_and_cepces_log_on() -> None:
    """cepces qualifies Type, sends a nonce and its own local time."""
    for name in ("xcep-01-getpolicies-request-usernametoken", "cepces-03-issue-request"):
        token = Message.parse(envelopes.example(name), LIMIT).user_name_token(NOW)
        assert token == UserNameToken("alice@corp.example", "Correct-Horse-9")
        assert "Correct" not in repr(token)


def test_what_we_send_as_a_client_is_what_we_read() -> None:
    token = UserNameToken("CORP\\alice", "p<a>&ss")
    data, message_id = soap.request("urn:act", "https://ca/x", BODY, token=token, now=NOW)
    message = Message.parse(data, LIMIT)
    assert (message.message_id, message.to) == (message_id, "https://ca/x")
    assert message.user_name_token(NOW) == token


@pytest.mark.parametrize(
    ("headers", "subcode"),
    [
        ("", "o:InvalidSecurity"),
        ("<o:Security/>", "o:InvalidSecurity"),
        (security(user=""), "o:FailedAuthentication"),
        (security(user="a" * 257), "o:FailedAuthentication"),
        (security(password=""), "o:FailedAuthentication"),
        (security(password="a" * 1025), "o:FailedAuthentication"),
        (security(kind=' Type="urn:x#PasswordDigest"'), "o:FailedAuthentication"),
    ],
)
def test_a_token_that_cannot_be_checked_is_refused(headers: str, subcode: str) -> None:
    with pytest.raises(Fault) as found:
        read(headers).user_name_token(NOW)
    assert found.value.subcode == subcode


@pytest.mark.parametrize(
    ("created", "expires", "accepted"),
    [(0, 5, True), (4, 9, True), (6, 11, False), (-20, -4, True), (-20, -6, False)],
    ids=["now", "clock ahead", "future", "just over", "long over"],
)
def test_a_message_timestamp_counts(created: int, expires: int, accepted: bool) -> None:
    """Five minutes of skew either way, as WCF has it."""
    stamp = "<u:Timestamp><u:Created>{}</u:Created><u:Expires>{}</u:Expires></u:Timestamp>".format(
        *((NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ") for minutes in (created, expires))
    )
    message = read(security(extra=stamp))
    if accepted:
        assert message.user_name_token(NOW).user == "alice@corp.example"
    else:
        with pytest.raises(Fault) as found:
            message.user_name_token(NOW)
        assert found.value.subcode == "u:MessageExpired"


def test_two_tokens_are_none() -> None:
    two = security().replace("</o:Security>", "") + security().split(">", 1)[1]
    with pytest.raises(BadRequest):
        read(two).user_name_token(NOW)


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (Fault.failed_authentication(), "fault-01-failed-authentication"),
        (Fault.deserialization("The element client is missing, nil or empty."), "fault-05-deserialization-failed"),
    ],
)
def test_faults_say_what_the_examples_say(made: Fault, name: str) -> None:
    """Prefixes may differ; code, subcode, reason and action may not."""
    ours, theirs = (Message.parse(data, LIMIT) for data in (made.encode(), envelopes.example(name)))

    assert ours.action == theirs.action
    assert soap.parse_fault(ours.body)[:2] == soap.parse_fault(theirs.body)[:2]
    assert _subcode(ours.body) == _subcode(theirs.body)


def _subcode(body: Element) -> str:
    code = next(body.all(f"{{{soap.ENVELOPE}}}Code"))
    subcode = next(code.all(f"{{{soap.ENVELOPE}}}Subcode"))
    return next(subcode.all(f"{{{soap.ENVELOPE}}}Value")).text.partition(":")[2]


def test_an_internal_fault_shows_its_incident_number_and_nothing_else() -> None:
    answer = Message.parse(Fault.internal("4711").encode(), LIMIT)
    assert answer.action == soap.DISPATCHER_FAULT
    assert "(4711)" in soap.parse_fault(answer.body)[1]
