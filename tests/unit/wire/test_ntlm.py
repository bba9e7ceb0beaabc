"""The messages of NTLM, read and written. [MS-NLMP] 2.2; pyspnego's messages are the other side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spnego._ntlm_raw import messages as theirs

from certwright.adcs.errors import BadRequest
from certwright.wire.ntlm import (
    MAX_MESSAGE,
    VERSION,
    AuthenticateMessage,
    AvFlags,
    AvId,
    ChallengeMessage,
    MessageType,
    NegotiateFlags,
    NegotiateMessage,
    NtlmV2Response,
    TargetInfo,
    message_type,
    mic_offset,
)

FLAGS = NegotiateFlags.UNICODE | NegotiateFlags.NTLM | NegotiateFlags.REQUEST_TARGET
INFO = TargetInfo(
    (
        (AvId.NETBIOS_DOMAIN_NAME, "CORP".encode("utf-16-le")),
        (AvId.DNS_DOMAIN_NAME, "corp.example".encode("utf-16-le")),
        (AvId.TIMESTAMP, bytes(range(8))),
    )
)


def authenticate(**changes: object) -> AuthenticateMessage:
    values: dict[str, object] = {
        "flags": FLAGS,
        "lm_response": bytes(24),
        "nt_response": bytes(100),
        "domain": "CORP",
        "user": "älice",
        "workstation": "WS1",
        "mic": bytes(range(16)),
        "version": bytes(8),
    }
    values.update(changes)
    return AuthenticateMessage(**values)  # type: ignore[arg-type]


def test_type_1_of_another_implementation_is_read() -> None:
    """2.2.1.1."""
    data = theirs.Negotiate(int(FLAGS), domain_name="CORP", workstation="WS1").pack()
    message = NegotiateMessage.parse(data)
    assert message.flags & FLAGS == FLAGS
    assert (message.domain, message.workstation) == (b"CORP", b"WS1")


def test_type_1_of_sixteen_bytes_is_read() -> None:
    """2.2.1.1: old clients leave the fields out."""
    data = NegotiateMessage(FLAGS).encode()[:16]
    assert NegotiateMessage.parse(data).flags == FLAGS


def test_type_2_is_read_by_another_implementation() -> None:
    """2.2.1.2: target information is Unicode whatever was negotiated, the target's name is not."""
    for character_set in (NegotiateFlags.UNICODE, NegotiateFlags.OEM):
        flags = character_set | NegotiateFlags.TARGET_INFO | NegotiateFlags.VERSION
        data = ChallengeMessage(flags, b"12345678", "CORP", INFO, VERSION).encode()
        message = theirs.Challenge.unpack(data)
        assert message.server_challenge == b"12345678"
        assert message.target_name == "CORP"
        assert message.flags == int(flags)
        assert message.target_info is not None
        assert message.target_info[theirs.AvId.dns_domain_name] == "corp.example"
        assert message.version is not None
        assert message.version.major == 10


def test_type_3_of_another_implementation_is_read() -> None:
    """2.2.1.3; without a version field its MIC lies right behind the flags."""
    for version, offset in ((theirs.Version.get_current(), 72), (None, 64)):
        data = theirs.Authenticate(
            int(FLAGS), bytes(24), b"n" * 60, "CORP", "älice", "WS1", b"k" * 16, version=version, mic=bytes(range(16))
        ).pack()
        message = AuthenticateMessage.parse(data)
        assert (message.domain, message.user, message.workstation) == ("CORP", "älice", "WS1")
        assert message.nt_response == b"n" * 60
        assert message.session_key == b"k" * 16
        assert message.mic == bytes(range(16))
        assert mic_offset(data) == offset


@pytest.mark.parametrize(
    "message",
    [
        NegotiateMessage(FLAGS | NegotiateFlags.VERSION, b"CORP", b"WS1", VERSION),
        NegotiateMessage(FLAGS),
        ChallengeMessage(FLAGS | NegotiateFlags.VERSION, b"12345678", "CORP", INFO, VERSION),
        ChallengeMessage(NegotiateFlags.OEM, b"12345678", "CORP"),
        authenticate(flags=FLAGS | NegotiateFlags.VERSION, version=VERSION),
        authenticate(version=b"", mic=None),
    ],
)
def test_what_is_written_is_read_back(
    message: NegotiateMessage | ChallengeMessage | AuthenticateMessage,
) -> None:
    data = message.encode()
    again = type(message).parse(data)
    assert again == message
    assert again.encode() == data


def test_message_without_room_for_a_mic_has_none() -> None:
    """2.2.1.3: the MIC is left out by clients older than it."""
    data = authenticate(mic=None, version=b"").encode()
    assert mic_offset(data) is None
    assert AuthenticateMessage.parse(data).mic is None


def test_all_zero_channel_bindings_are_no_channel_bindings() -> None:
    """2.2.2.1 (MsvAvChannelBindings)."""
    assert TargetInfo(((AvId.CHANNEL_BINDINGS, bytes(16)),)).channel_bindings is None
    assert TargetInfo(((AvId.CHANNEL_BINDINGS, b""),)).channel_bindings is None
    assert TargetInfo().channel_bindings is None
    assert TargetInfo(((AvId.CHANNEL_BINDINGS, b"\x01" * 16),)).channel_bindings == b"\x01" * 16


def test_a_pair_that_stands_twice_is_refused() -> None:
    """Which of two channel bindings counts must not depend on who reads."""
    twice = TargetInfo(((AvId.CHANNEL_BINDINGS, bytes(16)), (AvId.CHANNEL_BINDINGS, b"\x01" * 16)))
    with pytest.raises(BadRequest, match="twice"):
        TargetInfo.parse(twice.encode())


def test_target_information_ends_at_its_end_mark() -> None:
    """2.2.2.7: Windows pads behind it."""
    assert TargetInfo.parse(INFO.encode() + b"padding") == INFO
    with pytest.raises(BadRequest, match="end mark"):
        TargetInfo.parse(INFO.encode()[:-4])
    with pytest.raises(BadRequest, match="cut off"):
        TargetInfo.parse(b"\x01\x00\xff\x00ab")


def test_target_information_has_bounds() -> None:
    many = TargetInfo(tuple((number, b"") for number in range(100, 200)))
    with pytest.raises(BadRequest):
        TargetInfo.parse(many.encode())


def test_av_flags_of_a_wrong_size_say_nothing() -> None:
    assert TargetInfo(((AvId.FLAGS, b"\x02\x00\x00\x00"),)).flags is AvFlags.MIC_PRESENT
    assert TargetInfo(((AvId.FLAGS, b"\x02"),)).flags == AvFlags(0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NTLMSSP\x00\x01",
        b"NTLMSSP\x00\x04\x00\x00\x00" + bytes(60),
        b"XTLMSSP\x00\x03\x00\x00\x00" + bytes(60),
        authenticate().encode()[:63],
        authenticate().encode() + bytes(MAX_MESSAGE),
        authenticate(user="u" * 300).encode(),
        authenticate(domain="CORP", flags=NegotiateFlags.OEM).encode().replace(b"CORP", b"C\xd6RP"),
    ],
)
def test_what_is_no_type_3_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        AuthenticateMessage.parse(data)


def test_field_beyond_the_message_is_refused() -> None:
    data = bytearray(authenticate().encode())
    data[20:24] = b"\xff\x0f\xff\x0f"  # NtChallengeResponse of 4095 bytes
    with pytest.raises(BadRequest, match="field at 20"):
        AuthenticateMessage.parse(bytes(data))


def test_response_of_version_1_is_not_read_as_version_2() -> None:
    """2.2.2.6, 2.2.2.8."""
    with pytest.raises(BadRequest):
        NtlmV2Response.parse(bytes(24))
    with pytest.raises(BadRequest, match="version"):
        NtlmV2Response.parse(bytes(100))


def test_the_three_types_are_told_apart() -> None:
    assert message_type(NegotiateMessage(FLAGS).encode()) is MessageType.NEGOTIATE
    assert message_type(authenticate().encode()) is MessageType.AUTHENTICATE
    assert message_type(b"NTLMSSP\x00\x09\x00\x00\x00") is None
    assert message_type(b"\x60\x82") is None


@given(st.binary(max_size=300), st.integers(0, 2))
def test_no_bytes_bring_a_parser_to_raise_anything_else(noise: bytes, kind: int) -> None:
    parser = (NegotiateMessage, ChallengeMessage, AuthenticateMessage)[kind]
    for data in (noise, b"NTLMSSP\x00" + bytes((kind + 1, 0, 0, 0)) + noise):
        try:
            parser.parse(data)
        except BadRequest:
            continue


@given(st.binary(max_size=200))
def test_no_bytes_bring_the_response_parser_to_raise_anything_else(noise: bytes) -> None:
    for parse in (TargetInfo.parse, NtlmV2Response.parse):
        try:
            parse(noise)
        except BadRequest:
            continue


@given(st.binary(min_size=1, max_size=40), st.integers(0, 187))
def test_no_changed_byte_brings_the_type_3_parser_to_raise_anything_else(noise: bytes, position: int) -> None:
    data = bytearray(authenticate().encode())
    data[position : position + len(noise)] = noise
    try:
        AuthenticateMessage.parse(bytes(data))
    except BadRequest:
        return
