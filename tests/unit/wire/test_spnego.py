"""SPNEGO tokens, read and written. RFC 4178 4.2; pyspnego's tokens are the other side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spnego import _spnego as theirs

from certwright.adcs.errors import BadRequest
from certwright.pki import der, oids
from certwright.wire.spnego import (
    MAX_TOKEN,
    NegState,
    NegTokenInit,
    NegTokenResp,
    encode_mechanisms,
    framed_mechanism,
    is_initial,
)

WINDOWS_LIST = (oids.MS_KERBEROS, oids.KERBEROS, oids.NEGOEX, oids.NTLM)


def test_initial_token_of_another_implementation_is_read() -> None:
    """4.2.1; the list of mechanisms is kept as it was sent, since that is what gets signed."""
    data = theirs.NegTokenInit(list(WINDOWS_LIST), mech_token=b"token", mech_list_mic=b"mic").pack()
    token = NegTokenInit.parse(data)
    assert token.mechanisms == WINDOWS_LIST
    assert (token.token, token.mic) == (b"token", b"mic")
    assert token.mechanism_list == theirs.pack_mech_type_list(list(WINDOWS_LIST))
    assert token.mechanism_list == encode_mechanisms(WINDOWS_LIST)


def test_initial_token_without_its_frame_is_read() -> None:
    framed = NegTokenInit((oids.NTLM,), b"token").encode()
    frame = der.Reader.of(framed, 0x60)
    frame.oid()
    assert NegTokenInit.parse(frame.whole()) == NegTokenInit((oids.NTLM,), b"token")


def test_hints_in_an_initial_token_are_passed_over() -> None:
    """[MS-SPNG] 2.2.1: negHints stand where RFC 4178 has the MIC."""
    data = theirs.NegTokenInit([oids.NTLM], hint_name=b"not_defined_in_RFC4178@please_ignore").pack()
    token = NegTokenInit.parse(data)
    assert token.mechanisms == (oids.NTLM,)
    assert token.mic is None


@pytest.mark.parametrize(
    "token",
    [
        NegTokenResp(NegState.ACCEPT_INCOMPLETE, oids.NTLM, b"challenge"),
        NegTokenResp(NegState.REQUEST_MIC, oids.NTLM),
        NegTokenResp(NegState.ACCEPT_COMPLETED, None, None, b"mic"),
        NegTokenResp(None, None, b"authenticate", b"mic"),
    ],
)
def test_answers_are_read_and_written_alike(token: NegTokenResp) -> None:
    """4.2.2."""
    data = token.encode()
    assert NegTokenResp.parse(data) == token
    other = theirs.unpack_token(data)
    assert isinstance(other, theirs.NegTokenResp)
    assert (other.supported_mech, other.response_token, other.mech_list_mic) == (
        token.mechanism,
        token.token,
        token.mic,
    )
    assert other.neg_state is (None if token.state is None else theirs.NegState(int(token.state)))
    assert other.pack() == data


def test_initial_token_is_written_as_others_write_it() -> None:
    token = NegTokenInit((oids.KERBEROS, oids.NTLM), b"token", b"mic")
    assert (
        token.encode()
        == theirs.NegTokenInit(list(token.mechanisms), mech_token=b"token", mech_list_mic=b"mic").pack()
    )


def test_mic_that_repeats_the_token_is_none() -> None:
    """Windows 2000 puts the token there a second time."""
    assert NegTokenResp.parse(NegTokenResp(token=b"same", mic=b"same").encode()).mic is None


def test_frame_of_another_mechanism_is_named() -> None:
    """RFC 2743 3.1."""
    kerberos = der.tlv(0x60, der.oid(oids.KERBEROS) + b"\x01\x00ticket")
    assert framed_mechanism(kerberos) == oids.KERBEROS
    assert framed_mechanism(NegTokenInit((oids.NTLM,)).encode()) == oids.SPNEGO
    assert framed_mechanism(b"\x60\x80") is None
    assert is_initial(kerberos)
    assert not is_initial(NegTokenResp().encode())
    with pytest.raises(BadRequest, match="another mechanism"):
        NegTokenInit.parse(kerberos)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x60\x00",
        NegTokenInit(()).encode(),
        NegTokenInit((oids.NTLM,) * 17).encode(),
        NegTokenInit((oids.NTLM,)).encode() + b"\x00",
        NegTokenInit((oids.NTLM,), bytes(MAX_TOKEN)).encode(),
        NegTokenResp().encode(),
    ],
)
def test_what_is_no_initial_token_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        NegTokenInit.parse(data)


def test_unknown_state_is_refused() -> None:
    with pytest.raises(BadRequest):
        NegTokenResp.parse(der.explicit(1, der.sequence(der.explicit(0, der.enumerated(9)))))


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x60\x30\x06\x06\x2b\x06\x01\x05\x05\x02", b"\xa1\x20\x30\x1e"])
)
def test_no_bytes_bring_a_parser_to_raise_anything_else(noise: bytes, prefix: bytes) -> None:
    for parser in (NegTokenInit, NegTokenResp):
        try:
            parser.parse(prefix + noise)
        except BadRequest:
            continue


@given(st.integers(0, 60), st.integers(0, 255))
def test_no_changed_byte_brings_a_parser_to_raise_anything_else(position: int, value: int) -> None:
    for token, parser in (
        (NegTokenInit(WINDOWS_LIST, b"token"), NegTokenInit),
        (NegTokenResp(NegState.REJECT, oids.NTLM, b"token", b"mic"), NegTokenResp),
    ):
        data = bytearray(token.encode())
        data[position % len(data)] = value
        try:
            parser.parse(bytes(data))
        except BadRequest:
            continue
