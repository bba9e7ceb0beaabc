"""Kerberos as acceptor: whose a ticket is, its binding, and what is refused. RFC 4559, RFC 4121, [MS-PAC] 2.5."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from certwright.adcs.errors import CaUnreachable
from certwright.adcs.requester import AuthMethod, Sid
from certwright.auth import http as module
from certwright.auth.connection import Connection
from certwright.auth.domain import DomainLogons
from certwright.auth.http import Authenticated, Challenge, HttpAuthenticator
from certwright.auth.policy import AuthenticationPolicy, ChannelBinding, Scheme
from certwright.auth.throttle import ADDRESS
from certwright.directory.base import LogonFailure, Principal
from certwright.directory.well_known import EVERY_ACCOUNT
from certwright.pki import oids
from certwright.wire.spnego import NegState, NegTokenInit, NegTokenResp, encode_mechanisms
from tests.support.fake_directory import DOMAIN_SID, make_computer
from tests.support.logon_info import ENABLED, LogonInfoWriter
from tests.support.ntlm_client import BINDING, OTHER_BINDING, header, token_of
from tests.support.scripted_tickets import KeyedIntegrity, ScriptedTickets, kerberos_token, make_ticket
from tests.unit.auth.conftest import NAMES, Site

Answer = Authenticated | Challenge
Run = Callable[[Callable[["Realm"], Awaitable[Any]]], Any]

STAFF = Sid(f"{DOMAIN_SID}-1200")
LOCAL_SID = Sid("S-1-5-21-44-55-66")
"""Of the directory that stands beside the domain: `.\\Administrator` is of it."""


def pac(site: Site, **changed: Any) -> bytes:
    """What a domain controller says of alice."""
    rid = int(site.alice.sid.rpartition("-")[2])
    values: dict[str, Any] = {"domain_sid": DOMAIN_SID, "rid": rid, "groups": [(513, ENABLED), (1200, ENABLED)]}
    return LogonInfoWriter(**(values | changed)).encode()


@dataclass
class Realm:
    site: Site
    authenticator: HttpAuthenticator
    tickets: ScriptedTickets

    async def send(self, token: bytes, connection: Connection | None = None) -> Answer:
        return await self.authenticator.authenticate(header("Negotiate", token), connection or self.site.connect())

    async def log_on(self, binding: bytes = BINDING, **ticket: Any) -> Answer:
        """One token with alice's PAC."""
        made = make_ticket(**({"logon_info": pac(self.site)} | ticket))
        return await self.send(self.tickets.add(made, binding))


@pytest.fixture
def run(site: Site) -> Run:
    def runner(work: Callable[[Realm], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            tickets = ScriptedTickets()
            domain = DomainLogons(tickets=tickets, local_sid=LOCAL_SID)
            authenticator = HttpAuthenticator(
                site.directory, lambda: site.policy, site.throttle, site.executor, lambda: NAMES, domain=domain
            )
            try:
                return await work(Realm(site, authenticator, tickets))
            finally:
                await domain.close()

        return asyncio.run(main())

    return runner


def assert_refused(site: Site, answer: Answer, reason: str) -> None:
    """A fresh 401 that says nothing; NTLM is not on offer without winbind."""
    assert isinstance(answer, Challenge)
    assert answer.status == 401
    assert [value.split()[0] for _, value in answer.headers] == [b"Negotiate", b"Basic"]
    assert reason in site.reasons[-1]
    assert reason not in answer.reason


# -- whose a ticket is


def test_sid_and_groups_are_those_of_the_ticket(run: Run, site: Site) -> None:
    """[MS-PAC] 2.5; what every account is in, no ticket says."""
    answer = run(lambda realm: realm.log_on())
    assert isinstance(answer, Authenticated)
    assert answer.requester.sid == site.alice.sid
    assert answer.requester.account == "CORP\\alice"
    assert answer.requester.groups == EVERY_ACCOUNT | {STAFF, Sid(f"{DOMAIN_SID}-513")}
    assert answer.requester.method is AuthMethod.KERBEROS
    assert answer.headers == ((b"www-authenticate", header("Negotiate", b"AP-REP")),)
    assert site.logs[-1]["binding"] == "matched"


def test_the_sid_counts_and_not_the_name(run: Run, site: Site) -> None:
    """Whoever renames their account to another's keeps their own SID."""
    answer = run(lambda realm: realm.log_on(client="bob@CORP.EXAMPLE"))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\alice"


def test_without_a_pac_name_and_groups_are_the_directorys(run: Run, site: Site) -> None:
    answer = run(lambda realm: realm.log_on(logon_info=None))
    assert isinstance(answer, Authenticated)
    assert answer.requester.groups == site.alice.groups


def test_a_computer_without_a_pac_is_found_by_its_whole_name(run: Run, site: Site) -> None:
    answer = run(lambda realm: realm.log_on(logon_info=None, client="WEB1$@CORP.EXAMPLE"))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\WEB1$"


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        ("alice@OTHER.EXAMPLE", "another realm"),
        ("alice", "another realm"),
        ("web1@CORP.EXAMPLE", "does not know"),
        ("nobody@CORP.EXAMPLE", "does not know"),
        ("HTTP/ca.corp.example@CORP.EXAMPLE", "cannot be an account's"),
        ("alice\\@corp.example@CORP.EXAMPLE", "cannot be an account's"),
        ("@CORP.EXAMPLE", "cannot be an account's"),
        ("a\x00lice@CORP.EXAMPLE", "cannot be an account's"),
        (f"{'a' * 300}@CORP.EXAMPLE", "cannot be an account's"),
    ],
)
def test_without_a_pac_only_the_very_name_in_our_realm_is_somebody(
    run: Run, site: Site, client: str, reason: str
) -> None:
    """A domain controller may answer for `web1` with the key of `WEB1$`."""
    assert_refused(site, run(lambda realm: realm.log_on(logon_info=None, client=client)), reason)


@pytest.mark.parametrize(
    ("ticket", "reason"),
    [
        ({"logon_info": None, "has_pac": True}, "not signed for this service"),
        ({"logon_info": b"rubbish"}, "PAC: the logon information does not begin"),
        ({"anonymous": True}, "anonymous"),
    ],
)
def test_a_ticket_that_proves_nobody_is_refused(run: Run, site: Site, ticket: dict[str, Any], reason: str) -> None:
    """A damaged PAC is never passed over for the name."""
    assert_refused(site, run(lambda realm: realm.log_on(**ticket)), reason)


def test_an_oversized_pac_is_refused(run: Run, site: Site) -> None:
    many = pac(site, groups=[(rid, ENABLED) for rid in range(1000, 4000)])
    assert_refused(site, run(lambda realm: realm.log_on(logon_info=many)), "are taken")


def test_an_account_of_another_domain_is_refused(run: Run, site: Site) -> None:
    foreign = pac(site, domain_sid="S-1-5-21-9-9-9")
    assert_refused(site, run(lambda realm: realm.log_on(logon_info=foreign)), "another domain")


def test_what_is_local_to_a_host_no_ticket_gives(run: Run, site: Site) -> None:
    """BUILTIN\\Administrators manages a CA by default."""
    info = pac(site, extra=[("S-1-5-32-544", ENABLED), ("S-1-5-18", ENABLED), ("S-1-18-1", ENABLED)])
    answer = run(lambda realm: realm.log_on(logon_info=info))
    assert isinstance(answer, Authenticated)
    assert "S-1-18-1" in answer.requester.groups
    assert not {"S-1-5-32-544", "S-1-5-18"} & answer.requester.groups


def test_groups_of_our_own_directory_no_ticket_gives(run: Run, site: Site) -> None:
    """A sidHistory, or a domain controller that lies, may name our Domain Admins. [MS-PAC] 4.1.2.2."""
    ours, like_ours = Sid(f"{LOCAL_SID}-512"), Sid(f"{LOCAL_SID}7-512")  # another domain, whatever it begins with
    info = pac(site, extra=[(ours, ENABLED), (like_ours, ENABLED)])
    answer = run(lambda realm: realm.log_on(logon_info=info))
    assert isinstance(answer, Authenticated)
    assert ours not in answer.requester.groups
    assert like_ours in answer.requester.groups
    resource = pac(site, resource_domain=LOCAL_SID, resource_groups=[(512, ENABLED)])
    answer = run(lambda realm: realm.log_on(logon_info=resource))
    assert isinstance(answer, Authenticated)
    assert ours not in answer.requester.groups


@pytest.mark.parametrize("flags", [0x11, 0x410])
def test_an_account_disabled_when_the_ticket_was_made_is_refused(run: Run, site: Site, flags: int) -> None:
    """[MS-SAMR] 2.2.1.12."""
    assert_refused(site, run(lambda realm: realm.log_on(logon_info=pac(site, flags=flags))), "disabled or locked")


@pytest.mark.parametrize("obstacle", [None, LogonFailure.LOCKED_OUT, LogonFailure.EXPIRED])
def test_an_account_disabled_since_is_refused_with_the_reason_in_the_log(
    run: Run, site: Site, obstacle: LogonFailure | None
) -> None:
    """A ticket lives for hours."""
    site.directory.put(replace(site.alice, enabled=False, obstacle=obstacle))
    reason = obstacle.value if obstacle else "account disabled"
    assert_refused(site, run(lambda realm: realm.log_on()), reason)
    assert site.logs[-1]["account"] == "CORP\\alice"


def test_a_group_is_refused(run: Run, site: Site) -> None:
    from certwright.directory.base import PrincipalKind

    site.directory.put(replace(site.alice, kind=PrincipalKind.GROUP))
    assert_refused(site, run(lambda realm: realm.log_on()), "group")


# -- channel binding


@pytest.mark.parametrize("wanted", [ChannelBinding.ALLOW, ChannelBinding.REQUIRE])
def test_another_connections_binding_is_refused(run: Run, site: Site, wanted: ChannelBinding) -> None:
    site.policy = AuthenticationPolicy(wanted)
    assert_refused(site, run(lambda realm: realm.log_on(OTHER_BINDING)), "another TLS connection")


def test_a_missing_binding_is_refused_where_it_is_required(run: Run, site: Site) -> None:
    """MIT takes a ticket without bindings and says so by a flag alone."""
    assert_refused(site, run(lambda realm: realm.log_on(b"")), "no channel binding")


def test_a_missing_binding_passes_where_it_is_allowed(run: Run, site: Site) -> None:
    site.allow()
    assert isinstance(run(lambda realm: realm.log_on(b"")), Authenticated)
    assert site.logs[-1]["binding"] == "absent"


def test_bindings_are_not_looked_at_where_they_are_off(run: Run, site: Site) -> None:
    site.policy = AuthenticationPolicy(ChannelBinding.OFF)
    assert isinstance(run(lambda realm: realm.log_on(OTHER_BINDING)), Authenticated)
    assert site.logs[-1]["binding"] == "unchecked"


def test_a_binding_to_the_certificate_before_is_good(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> Answer:
        token = realm.tickets.add(make_ticket(logon_info=pac(site)), OTHER_BINDING)
        return await realm.send(token, site.connect(bindings=(BINDING, OTHER_BINDING)))

    assert isinstance(run(work), Authenticated)


# -- tokens


@pytest.mark.parametrize("mechanism", [oids.KERBEROS, oids.MS_KERBEROS])
def test_kerberos_inside_spnego_is_taken_under_both_its_numbers(run: Run, site: Site, mechanism: str) -> None:
    """[MS-SPNG] appendix A: Windows offers both, and the answer names the one that was chosen."""

    async def work(realm: Realm) -> Answer:
        token = realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING)
        return await realm.send(NegTokenInit((mechanism, oids.NTLM), token).encode())

    answer = run(work)
    assert isinstance(answer, Authenticated)
    final = NegTokenResp.parse(token_of(answer, "Negotiate") or b"")
    assert (final.state, final.mechanism, final.token) == (NegState.ACCEPT_COMPLETED, mechanism, b"AP-REP")


def test_a_list_that_begins_with_something_else_has_to_be_protected(run: Run, site: Site) -> None:
    """RFC 4178 5: the signature is made with the ticket's session key."""
    offer = ("1.3.6.1.4.1.311.2.2.30", oids.KERBEROS)

    async def work(realm: Realm, mic: bytes | None) -> Answer:
        connection = site.connect()
        first = await realm.send(NegTokenInit(offer, b"for NEGOEX").encode(), connection)
        assert NegTokenResp.parse(token_of(first, "Negotiate") or b"").state is NegState.REQUEST_MIC
        token = realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING)
        return await realm.send(NegTokenResp(token=token, mic=mic).encode(), connection)

    good = KeyedIntegrity().sign(encode_mechanisms(offer))
    assert isinstance(run(lambda realm: work(realm, good)), Authenticated)
    assert_refused(site, run(lambda realm: work(realm, None)), "did not protect")
    assert_refused(site, run(lambda realm: work(realm, b"x" * 32)), "changed on its way")


def test_a_token_is_taken_once(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> Answer:
        token = realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING)
        assert isinstance(await realm.send(token), Authenticated)
        return await realm.send(token)

    assert_refused(site, run(work), "replay")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (kerberos_token(b"rubbish"), "malformed"),
        (b"\x60", "SPNEGO: "),
        (b"\x60\x84\xff\xff\xff\xff", "SPNEGO: "),
        (b"\xa0\x03abc", "SPNEGO: "),
        (b"\x6e\x03abc", "this connection did not begin"),  # AP-REQ without a frame
    ],
)
def test_malformed_tokens_are_refused(run: Run, site: Site, token: bytes, reason: str) -> None:
    assert_refused(site, run(lambda realm: realm.send(token)), reason)


def test_a_second_kerberos_token_in_one_handshake_is_refused(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> Answer:
        connection = site.connect()
        await realm.send(NegTokenInit((oids.KERBEROS,)).encode(), connection)
        assert isinstance(connection.auth, module._Handshake)
        handshake = connection.auth
        token = realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING)
        assert isinstance(await realm.send(NegTokenResp(token=token).encode(), connection), Authenticated)
        connection.auth = handshake
        return await realm.send(NegTokenResp(token=token).encode(), connection)

    assert_refused(site, run(work), "takes one token")


# -- the connection afterwards


def test_the_connection_stays_alices_with_the_tickets_groups(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> list[Answer]:
        connection = site.connect()
        first = await realm.send(realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING), connection)
        return [first, await realm.authenticator.authenticate(None, connection)]

    first, later = run(work)
    assert isinstance(later, Authenticated)
    assert later.requester == first.requester
    assert later.headers == ()


def test_the_connection_is_nobodys_when_the_ticket_has_ended(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> Answer:
        connection = site.connect()
        ticket = make_ticket(logon_info=pac(site), lifetime=-1.0)
        assert isinstance(await realm.send(realm.tickets.add(ticket, BINDING), connection), Authenticated)
        return await realm.authenticator.authenticate(None, connection)

    assert isinstance(run(work), Challenge)
    assert "come to its end" in site.logs[-1]["reason"]


def test_an_account_disabled_meanwhile_loses_its_connection(
    run: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REVIEW_SECONDS", 0.0)

    async def work(realm: Realm) -> list[Answer]:
        connection = site.connect()
        await realm.send(realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING), connection)
        before = await realm.authenticator.authenticate(None, connection)
        site.directory.disable(site.alice.sid)
        return [before, await realm.authenticator.authenticate(None, connection)]

    before, after = run(work)
    assert isinstance(before, Authenticated)
    assert isinstance(after, Challenge)


def test_the_directory_is_not_asked_for_every_request(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    find = site.directory.principal
    monkeypatch.setattr(site.directory, "principal", lambda name: asked.append(name) or find(name))

    async def work(realm: Realm) -> None:
        connection = site.connect()
        await realm.send(realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING), connection)
        for _ in range(20):
            assert isinstance(await realm.authenticator.authenticate(None, connection), Authenticated)

    run(work)
    assert asked == [site.alice.sid]


# -- a directory that does not answer


def unreachable(name: str) -> Principal | None:
    raise CaUnreachable("no domain controller answers")


def test_a_ticket_says_who_it_is_while_the_directory_is_down(
    run: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages that need no directory go on; the CA asks again before it issues."""
    monkeypatch.setattr(site.directory, "principal", unreachable)
    answer = run(lambda realm: realm.log_on())
    assert isinstance(answer, Authenticated)
    assert (answer.requester.account, answer.requester.sid) == ("CORP\\alice", site.alice.sid)
    assert STAFF in answer.requester.groups
    assert any(entry["event"] == "logon_without_directory" for entry in site.logs)


def test_a_ticket_without_a_pac_cannot_be_checked_then(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.directory, "principal", unreachable)
    answer = run(lambda realm: realm.log_on(logon_info=None))
    assert isinstance(answer, Challenge)
    assert (answer.status, answer.retry_after) == (503, module.BUSY_RETRY)
    assert site.logs[-1]["event"] == "logon_not_checked"
    assert "exc_info" not in site.logs[-1]


def test_a_connection_outlives_the_directory(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REVIEW_SECONDS", 0.0)

    async def work(realm: Realm) -> Answer:
        connection = site.connect()
        await realm.send(realm.tickets.add(make_ticket(logon_info=pac(site)), BINDING), connection)
        monkeypatch.setattr(site.directory, "principal", unreachable)
        return await realm.authenticator.authenticate(None, connection)

    assert isinstance(run(work), Authenticated)


def test_a_slow_directory_does_not_hold_the_event_loop(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    find = site.directory.principal

    def slow(name: str) -> Principal | None:
        time.sleep(0.2)
        return find(name)

    monkeypatch.setattr(site.directory, "principal", slow)

    async def work(realm: Realm) -> float:
        logon = asyncio.create_task(realm.log_on())
        longest, last = 0.0, time.monotonic()
        while not logon.done():
            await asyncio.sleep(0)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        assert isinstance(logon.result(), Authenticated)
        return longest

    assert run(work) < 0.15


# -- throttling


def test_wrong_tokens_count_against_their_address_and_right_ones_still_pass(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> tuple[set[int], Answer, Answer]:
        statuses = set()
        for index in range(ADDRESS.failures):
            answer = await realm.send(kerberos_token(b"%d" % index))
            statuses.add(answer.status if isinstance(answer, Challenge) else 200)
        return statuses, await realm.send(kerberos_token(b"one more")), await realm.log_on()

    statuses, late, right = run(work)
    assert statuses == {401}
    assert isinstance(late, Challenge)
    assert late.status == 429
    assert late.retry_after
    assert isinstance(right, Authenticated)


def test_a_right_ticket_with_a_wrong_binding_is_no_guess(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> Answer:
        for _ in range(2 * ADDRESS.failures):
            answer = await realm.log_on(OTHER_BINDING)
        return answer

    assert_refused(site, run(work), "another TLS connection")


# -- what is on offer


def test_negotiate_is_offered_only_while_there_is_a_key(run: Run, site: Site) -> None:
    async def work(realm: Realm) -> list[list[bytes]]:
        offered = []
        for realm.tickets.is_ready in (True, False):
            answer = await realm.authenticator.authenticate(None, site.connect())
            assert isinstance(answer, Challenge)
            offered.append([value.split()[0] for _, value in answer.headers])
        return offered

    assert run(work) == [[b"Negotiate", b"Basic"], [b"Basic"]]


def test_kerberos_needs_no_ntlm(run: Run, site: Site) -> None:
    site.policy = AuthenticationPolicy(schemes=frozenset({Scheme.NEGOTIATE}))
    assert isinstance(run(lambda realm: realm.log_on()), Authenticated)


def test_switching_negotiate_off_switches_kerberos_off(run: Run, site: Site) -> None:
    site.policy = AuthenticationPolicy(schemes=frozenset({Scheme.BASIC}))
    answer = run(lambda realm: realm.log_on())
    assert isinstance(answer, Challenge)
    assert "not offered" in site.reasons[-1]


def test_computers_log_on_as_themselves(run: Run, site: Site) -> None:
    web1 = site.directory.principal("CORP\\WEB1$") or make_computer()
    info = pac(site, account="WEB1$", rid=int(web1.sid.rpartition("-")[2]), flags=0x80)
    answer = run(lambda realm: realm.log_on(logon_info=info))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\WEB1$"
