"""The header, the connection, and what is kept of them. RFC 9110 11, RFC 4559, [MS-NTHT] 3.1."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwright.adcs.requester import Sid
from certwright.auth.http import MAX_AUTHORIZATION, Authenticated, Challenge
from certwright.auth.policy import AuthenticationPolicy, ChannelBinding, Scheme
from certwright.wire.ntlm import NegotiateMessage
from tests.support.ntlm_client import (
    UNICODE_CLIENT,
    BentClient,
    basic,
    client,
    header,
    log_on,
    token_of,
)
from tests.unit.auth.conftest import PASSWORD, Site

TYPE_1 = header("NTLM", NegotiateMessage(UNICODE_CLIENT).encode())


# -- challenges


def test_schemes_are_offered_strongest_first(site: Site) -> None:
    """One header each, as IIS does."""
    answer = site.run(site.authenticator.authenticate(None, site.connect()))
    assert answer == Challenge(
        401,
        (
            (b"www-authenticate", b"Negotiate"),
            (b"www-authenticate", b"NTLM"),
            (b"www-authenticate", b'Basic realm="corp.example"'),
        ),
        answer.reason if isinstance(answer, Challenge) else "",
    )
    assert site.logs == []  # a first request is no failure


def test_realm_is_the_policys(site: Site) -> None:
    site.policy = AuthenticationPolicy(schemes=frozenset({Scheme.BASIC}), realm="Corporate CA")
    answer = site.run(site.authenticator.authenticate(None, site.connect()))
    assert answer.headers == ((b"www-authenticate", b'Basic realm="Corporate CA"'),)


@pytest.mark.parametrize("authorization", [None, TYPE_1, basic("alice", PASSWORD)])
def test_nothing_is_offered_or_checked_without_tls(site: Site, authorization: bytes | None) -> None:
    connection = site.connect(tls=False)
    answer = site.run(site.authenticator.authenticate(authorization, connection))
    assert isinstance(answer, Challenge)
    assert (answer.status, answer.headers) == (403, ())
    assert site.directory.password_checks == 0
    assert connection.auth is None


def test_schemes_are_switched_by_the_policy_at_once(site: Site) -> None:
    site.policy = AuthenticationPolicy(schemes=frozenset({Scheme.NTLM}))
    answer = site.run(site.authenticator.authenticate(None, site.connect()))
    assert answer.headers == ((b"www-authenticate", b"NTLM"),)


def test_scheme_is_read_without_regard_to_case(site: Site) -> None:
    """RFC 9110 11.1."""
    value = b"nTLM   " + TYPE_1.split()[1] + b" "
    assert token_of(site.run(site.authenticator.authenticate(value, site.connect())), "NTLM") is not None


def test_challenge_of_a_handshake_goes_alone(site: Site) -> None:
    """RFC 4559 5: the token, and no other scheme beside it."""
    answer = site.run(site.authenticator.authenticate(TYPE_1, site.connect()))
    assert isinstance(answer, Challenge)
    assert answer.status == 401
    assert len(answer.headers) == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "unknown"),
        (b"Bearer abc", "unknown"),
        (b"Digest username=x", "unknown"),
        (b"NTLM", "empty"),
        (b"Negotiate ====", "base64"),
        (b"NTLM " + b"A" * MAX_AUTHORIZATION, "too long"),
        (b"NTLM AAAA", "did not begin"),
    ],
)
def test_header_that_makes_no_sense_is_challenged_anew(site: Site, value: bytes, reason: str) -> None:
    site.assert_refused(site.run(site.authenticator.authenticate(value, site.connect())), reason)


# -- a connection's life


def test_logged_on_connection_needs_no_header(site: Site) -> None:
    async def many() -> None:
        connection = site.connect()
        answers = [await log_on(site.authenticator, connection, client())]
        answers += [await site.authenticator.authenticate(None, connection) for _ in range(5)]
        assert all(isinstance(answer, Authenticated) for answer in answers)

    site.run(many())
    assert len([entry for entry in site.logs if entry["event"] == "logon_accepted"]) == 1


def test_new_header_forgets_who_was_there(site: Site) -> None:
    """Even before it is decided: a handshake in progress is nobody."""

    async def restart() -> None:
        connection = site.connect()
        await log_on(site.authenticator, connection, client())
        assert isinstance(await site.authenticator.authenticate(TYPE_1, connection), Challenge)
        assert isinstance(await site.authenticator.authenticate(None, connection), Challenge)
        bob = await log_on(site.authenticator, connection, client("CORP\\bob", "bobs password"))
        assert isinstance(bob, Authenticated)
        assert bob.requester.account == "CORP\\bob"

    site.run(restart())


def test_request_without_header_ends_a_handshake(site: Site) -> None:
    async def interrupted() -> Any:
        connection, bent = site.connect(), BentClient()
        first = await site.authenticator.authenticate(header("NTLM", bent.negotiate), connection)
        await site.authenticator.authenticate(None, connection)
        last = header("NTLM", bent.authenticate(token_of(first, "NTLM") or b""))
        return await site.authenticator.authenticate(last, connection)

    site.assert_refused(site.run(interrupted()), "did not begin")


def test_handshake_may_be_begun_again(site: Site) -> None:
    async def again() -> Any:
        connection = site.connect()
        for _ in range(10):
            await site.authenticator.authenticate(TYPE_1, connection)
        return await log_on(site.authenticator, connection, client())

    assert isinstance(site.run(again()), Authenticated)


def test_handshake_of_one_scheme_is_not_continued_with_another(site: Site) -> None:
    async def mixed() -> Any:
        connection, bent = site.connect(), BentClient()
        first = await site.authenticator.authenticate(header("NTLM", bent.negotiate), connection)
        last = header("Negotiate", bent.authenticate(token_of(first, "NTLM") or b""))
        return await site.authenticator.authenticate(last, connection)

    site.assert_refused(site.run(mixed()), "did not begin")


def test_legs_are_counted(site: Site) -> None:
    """A mechanism that never ends is ended."""

    class Endless:
        async def step(self, token: bytes) -> Any:
            from certwright.auth.mechanism import Continue

            return Continue(b"more")

    async def endless() -> Any:
        connection = site.connect()
        await site.authenticator.authenticate(TYPE_1, connection)
        handshake: Any = connection.auth
        handshake.mechanism = Endless()
        answers = [await site.authenticator.authenticate(header("NTLM", b"more"), connection) for _ in range(4)]
        assert [token_of(answer, "NTLM") for answer in answers] == [b"more"] * 3 + [None]
        return answers[-1]

    site.assert_refused(site.run(endless()), "too many legs")


def test_failed_connection_may_try_again(site: Site) -> None:
    async def retry() -> Any:
        connection = site.connect()
        await log_on(site.authenticator, connection, client(password="wrong"))
        assert connection.auth is None
        return await log_on(site.authenticator, connection, client())

    assert isinstance(site.run(retry()), Authenticated)


# -- what changes while a connection lives


async def on_a_logged_on_connection(site: Site, change: Any) -> Authenticated | Challenge:
    connection = site.connect()
    assert isinstance(await log_on(site.authenticator, connection, client()), Authenticated)
    change()
    answer = await site.authenticator.authenticate(None, connection)
    if isinstance(answer, Challenge):
        assert answer.status == 401
        assert connection.auth is None
    return answer


def test_disabled_account_is_out_at_its_next_request(site: Site) -> None:
    answer = site.run(on_a_logged_on_connection(site, lambda: site.directory.disable(site.alice.sid)))
    assert isinstance(answer, Challenge)
    assert [entry["event"] for entry in site.logs] == ["logon_accepted", "logon_ended"]


def test_disabled_account_is_out_with_a_basic_header_too(site: Site) -> None:
    async def disabled() -> Any:
        connection = site.connect()
        await site.authenticator.authenticate(basic("alice", PASSWORD), connection)
        site.directory.disable(site.alice.sid)
        return await site.authenticator.authenticate(basic("alice", PASSWORD), connection)

    site.assert_refused(site.run(disabled()), "disabled")


def test_new_group_counts_at_the_next_request(site: Site) -> None:
    grown = replace(site.alice, groups=site.alice.groups | {Sid("S-1-5-32-544")})
    answer = site.run(on_a_logged_on_connection(site, lambda: site.directory.put(grown)))
    assert isinstance(answer, Authenticated)
    assert Sid("S-1-5-32-544") in answer.requester.groups


def test_scheme_that_is_switched_off_ends_its_connections(site: Site) -> None:
    def switch_off() -> None:
        site.policy = AuthenticationPolicy(schemes=frozenset({Scheme.NEGOTIATE, Scheme.BASIC}))

    assert isinstance(site.run(on_a_logged_on_connection(site, switch_off)), Challenge)


def test_tightened_binding_ends_connections_without_one(site: Site) -> None:
    async def tightened() -> None:
        bound, unbound = site.connect(), site.connect()
        await log_on(site.authenticator, bound, client())
        await log_on(site.authenticator, unbound, client(binding=None))
        site.policy = AuthenticationPolicy(ChannelBinding.REQUIRE)
        assert isinstance(await site.authenticator.authenticate(None, bound), Authenticated)
        assert isinstance(await site.authenticator.authenticate(None, unbound), Challenge)

    site.allow()
    site.run(tightened())


def test_equal_policy_ends_nothing(site: Site) -> None:
    def renew() -> None:
        site.policy = AuthenticationPolicy()

    assert isinstance(site.run(on_a_logged_on_connection(site, renew)), Authenticated)


# -- faults


def test_directory_that_fails_is_not_the_clients_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, logged with its cause; 401 would tell people that their password is wrong."""

    def broken(name: str) -> Any:
        raise OSError("the database is gone")

    monkeypatch.setattr(site.directory, "nt_hash", broken)
    connection = site.connect()
    answer = site.run(log_on(site.authenticator, connection, client()))
    assert isinstance(answer, Challenge)
    assert answer.status == 503
    assert "database" not in answer.reason
    assert connection.auth is None
    assert site.logs[-1]["event"] == "logon_failed"


def test_logs_hold_no_secret_and_no_control_characters(site: Site) -> None:
    site.run(site.authenticator.authenticate(basic("ali\x1b[2Jce", "s3cret-guess"), site.connect()))
    site.run(log_on(site.authenticator, site.connect(), client(password="s3cret-guess")))
    text = repr(site.logs)
    assert "s3cret-guess" not in text
    assert "\\x1b" not in text
    assert "ali?[2Jce" in text


SCHEMES = st.sampled_from([b"NTLM ", b"Negotiate ", b"Basic ", b"ntlm", b"", b"Bearer "])
STARTS = st.sampled_from(
    [
        b"",
        b"NTLMSSP\x00\x01\x00\x00\x00",
        b"NTLMSSP\x00\x03\x00\x00\x00",
        b"\x60\x20\x06\x06+\x06\x01\x05\x05\x02",
        b"\xa1",
    ]
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(SCHEMES, STARTS, st.binary(max_size=200), st.booleans()), max_size=4))
def test_no_header_brings_anything_but_a_challenge(
    site: Site, values: list[tuple[bytes, bytes, bytes, bool]]
) -> None:
    """Whatever comes, in whatever order, on a connection in whatever state. The site may be the same for all."""

    async def throw() -> None:
        connection = site.connect()
        for scheme, start, noise, encoded in values:
            value = scheme + (base64.b64encode(start + noise) if encoded else start + noise)
            answer = await site.authenticator.authenticate(value, connection)
            assert isinstance(answer, Challenge)
            assert answer.status in (401, 429)
        assert isinstance(await site.authenticator.authenticate(None, connection), Challenge)

    asyncio.run(throw())
    assert not any(entry["event"] == "logon_failed" for entry in site.logs)
