"""Negotiate as acceptor. RFC 4178 4.2, 5; RFC 4559; [MS-SPNG] 3.3."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from certwright.adcs.requester import AuthMethod
from certwright.auth.http import Authenticated, Challenge
from certwright.auth.mechanism import Continue, Established, Mechanism, Refused
from certwright.auth.policy import AuthenticationPolicy, Binding, ChannelBinding, Scheme
from certwright.auth.spnego import Negotiation
from certwright.pki import der, oids
from certwright.wire.ntlm import NegotiateMessage, message_type
from certwright.wire.spnego import NegState, NegTokenInit, NegTokenResp
from tests.support.fake_directory import make_user
from tests.support.ntlm_client import (
    OTHER_BINDING,
    UNICODE_CLIENT,
    BentClient,
    client,
    header,
    log_on,
    token_of,
)
from tests.unit.auth.conftest import Site

WINDOWS_LIST = (oids.MS_KERBEROS, oids.KERBEROS, oids.NEGOEX, oids.NTLM)


async def send(site: Site, token: bytes, connection: Any) -> tuple[Any, NegTokenResp | None]:
    """One leg of Negotiate; the answer and, where it carries one, its token."""
    answer = await site.authenticator.authenticate(header("Negotiate", token), connection)
    received = token_of(answer, "Negotiate")
    return answer, None if received is None else NegTokenResp.parse(received)


# -- with other people's clients


def test_ntlm_inside_negotiate_logs_on(site: Site) -> None:
    """The client verifies our mechListMIC before it calls itself complete."""
    initiator = client(protocol="negotiate")
    answer = site.run(log_on(site.authenticator, site.connect(), initiator, "Negotiate"))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\alice"
    assert answer.requester.method is AuthMethod.NTLM
    final = NegTokenResp.parse(token_of(answer, "Negotiate") or b"")
    assert final.state is NegState.ACCEPT_COMPLETED
    assert final.mic is not None
    assert initiator.complete


def test_raw_ntlm_inside_negotiate_logs_on(site: Site) -> None:
    """Windows sends NTLM without SPNEGO where it has nothing else to offer, requests-ntlm always."""
    answer = site.run(log_on(site.authenticator, site.connect(), client(), "Negotiate"))
    assert isinstance(answer, Authenticated)
    assert answer.headers == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": "wrong"}, "wrong password"),
        ({"binding": OTHER_BINDING}, "another TLS connection"),
        ({"binding": None}, "no channel binding"),
        ({"hostname": "files.corp.example"}, "not a name of this server"),
        ({"user": "CORP\\nobody"}, "unknown account"),
    ],
)
def test_negotiate_refuses_what_ntlm_refuses(site: Site, changes: dict[str, Any], reason: str) -> None:
    initiator = client(protocol="negotiate", **changes)
    site.assert_refused(site.run(log_on(site.authenticator, site.connect(), initiator, "Negotiate")), reason)


def test_client_without_bindings_passes_under_allow(site: Site) -> None:
    site.allow()
    initiator = client(protocol="negotiate", binding=None)
    assert isinstance(site.run(log_on(site.authenticator, site.connect(), initiator, "Negotiate")), Authenticated)


# -- a client that would rather have Kerberos, as Windows is one


class WindowsClient:
    """SPNEGO as a domain member speaks it: Kerberos first, with a token for it, NTLM last."""

    def __init__(
        self, site: Site, *, mic: bytes | None = None, with_mic: bool = True, mechanisms: Any = None
    ) -> None:
        self.site = site
        self.connection = site.connect()
        self.ntlm = client()
        self.offer = NegTokenInit(mechanisms or WINDOWS_LIST, b"a Kerberos ticket")
        self.signed_list = theirs_list(mechanisms or WINDOWS_LIST)
        self._mic, self._with_mic = mic, with_mic

    async def log_on(self) -> tuple[Any, NegTokenResp | None]:
        answer, chosen = await send(self.site, self.offer.encode(), self.connection)
        assert isinstance(answer, Challenge)
        assert chosen == NegTokenResp(NegState.REQUEST_MIC, oids.NTLM)
        answer, challenge = await send(self.site, NegTokenResp(token=self.ntlm.step()).encode(), self.connection)
        assert challenge is not None
        assert challenge.state is NegState.ACCEPT_INCOMPLETE
        assert challenge.mechanism is None  # in the first answer only
        token = self.ntlm.step(challenge.token)
        mic = self._mic if self._mic is not None else self.ntlm.sign(self.signed_list)
        last = NegTokenResp(token=token, mic=mic if self._with_mic else None)
        return await send(self.site, last.encode(), self.connection)


def theirs_list(mechanisms: tuple[str, ...]) -> bytes:
    from spnego._spnego import pack_mech_type_list

    return pack_mech_type_list(list(mechanisms))


def test_client_that_prefers_kerberos_is_moved_to_ntlm(site: Site) -> None:
    """RFC 4178 5: then both sides prove that they saw the same list."""
    windows = WindowsClient(site)
    answer, final = site.run(windows.log_on())
    assert isinstance(answer, Authenticated)
    assert final is not None
    assert final.state is NegState.ACCEPT_COMPLETED
    windows.ntlm.verify(windows.signed_list, final.mic)


def test_unprotected_list_is_refused_when_the_favourite_was_not_taken(site: Site) -> None:
    site.assert_refused(site.run(WindowsClient(site, with_mic=False).log_on())[0], "did not protect")


def test_changed_list_of_mechanisms_is_refused(site: Site) -> None:
    """Somebody on the way took Kerberos from the front of the list."""
    windows = WindowsClient(site)
    windows.signed_list = theirs_list((oids.AES128_CBC, *WINDOWS_LIST))
    site.assert_refused(site.run(windows.log_on())[0], "was changed")


@pytest.mark.parametrize("mic", [b"\x01\x00\x00\x00" + bytes(12), b"", b"short"])
def test_wrong_mic_is_refused(site: Site, mic: bytes) -> None:
    site.assert_refused(site.run(WindowsClient(site, mic=mic).log_on())[0], "was changed")


# -- the first token


def test_favourite_without_a_token_is_asked_for_one(site: Site) -> None:
    """RFC 4178 4.2.1: the optimistic token may be absent."""

    async def talk() -> Any:
        connection, ntlm = site.connect(), client()
        _, answer = await send(site, NegTokenInit((oids.NTLM,)).encode(), connection)
        assert answer == NegTokenResp(NegState.ACCEPT_INCOMPLETE, oids.NTLM)
        _, challenge = await send(site, NegTokenResp(token=ntlm.step()).encode(), connection)
        assert challenge is not None
        return await send(site, NegTokenResp(token=ntlm.step(challenge.token)).encode(), connection)

    answer, final = site.run(talk())
    assert isinstance(answer, Authenticated)
    assert final == NegTokenResp(NegState.ACCEPT_COMPLETED)


def test_ntlm_first_is_challenged_at_once(site: Site) -> None:
    token = NegTokenInit((oids.NTLM,), NegotiateMessage(UNICODE_CLIENT).encode()).encode()
    _, answer = site.run(send(site, token, site.connect()))
    assert answer is not None
    assert (answer.state, answer.mechanism) == (NegState.ACCEPT_INCOMPLETE, oids.NTLM)
    assert message_type(answer.token or b"") is not None


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (NegTokenInit((oids.MS_KERBEROS, oids.KERBEROS), b"ticket").encode(), "no mechanism in common"),
        (der.tlv(0x60, der.oid(oids.KERBEROS) + b"\x01\x00ticket"), "Kerberos is not set up"),
        (der.tlv(0x60, der.oid("1.2.3.4") + b"x"), "1.2.3.4 is not set up"),
        (NegTokenResp(token=b"x").encode(), "did not begin"),
        (BentClient().negotiate[:12], "cut off"),
        (b"\x60\x80\x00\x00", "SPNEGO"),
        (b"garbage", "did not begin"),
    ],
)
def test_what_cannot_begin_is_refused_with_its_reason(site: Site, token: bytes, reason: str) -> None:
    connection = site.connect()
    answer, _ = site.run(send(site, token, connection))
    site.assert_refused(answer, reason)
    assert connection.auth is None


@pytest.mark.parametrize("second", [NegTokenResp(NegState.REJECT).encode(), NegTokenResp().encode()])
def test_client_may_give_up(site: Site, second: bytes) -> None:
    async def talk() -> Any:
        connection = site.connect()
        await send(site, client(protocol="negotiate").step(), connection)
        return (await send(site, second, connection))[0]

    site.assert_refused(site.run(talk()), "ended the negotiation")


def test_negotiate_is_not_offered_without_a_mechanism(site: Site) -> None:
    """ntlm=off means no NTLM inside Negotiate either."""
    site.policy = AuthenticationPolicy(ChannelBinding.REQUIRE, frozenset({Scheme.NEGOTIATE, Scheme.BASIC}))
    answer = site.run(log_on(site.authenticator, site.connect(), client(protocol="negotiate"), "Negotiate"))
    assert isinstance(answer, Challenge)
    assert [value.split()[0] for _, value in answer.headers] == [b"Basic"]
    assert site.reasons == ["the scheme is not offered"]


# -- the seam for other mechanisms


class Scripted:
    """A mechanism of one leg, as Kerberos is one, that proves itself to the client."""

    async def step(self, token: bytes) -> Continue | Established:
        if token != b"ticket":
            raise Refused("not the ticket")
        await asyncio.sleep(0)
        return Established(make_user(), AuthMethod.KERBEROS, Binding.MATCHED, None, b"AP-REP")


def scripted() -> Mechanism:
    return Scripted()


def test_another_mechanism_takes_its_place_by_oid() -> None:
    """The optimistic token of a client whose favourite we have is used at once."""
    negotiation = Negotiation({oids.KERBEROS: scripted})
    result = asyncio.run(negotiation.step(NegTokenInit((oids.KERBEROS, oids.NTLM), b"ticket").encode()))
    assert isinstance(result, Established)
    assert result.method is AuthMethod.KERBEROS
    final = NegTokenResp.parse(result.token or b"")
    assert final == NegTokenResp(NegState.ACCEPT_COMPLETED, oids.KERBEROS, b"AP-REP")


def test_mechanism_without_signatures_cannot_protect_the_list() -> None:
    negotiation = Negotiation({oids.KERBEROS: scripted})
    with pytest.raises(Refused, match="was changed"):
        asyncio.run(negotiation.step(NegTokenInit((oids.KERBEROS,), b"ticket", b"mic").encode()))
