"""NTLM as acceptor. [MS-NLMP] 3.2.5.1, 3.3.2, 3.4; the vectors are those of section 4.2."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import replace
from typing import Any

import pytest
import spnego

from certwright.adcs.requester import AuthMethod, Sid
from certwright.auth.http import Authenticated
from certwright.auth.ntlm import (
    NtlmIntegrity,
    capitals,
    computer_name,
    exported_session_key,
    ntowf_v2,
    rc4,
)
from certwright.auth.policy import AuthenticationPolicy, ChannelBinding
from certwright.directory.base import PrincipalKind
from certwright.pki.channel_binding import gss_channel_bindings_hash
from certwright.wire.ntlm import AvId, ChallengeMessage, NegotiateFlags, NegotiateMessage, NtlmV2Response
from tests.support.fake_directory import make_user
from tests.support.ntlm_client import (
    BINDING,
    OTHER_BINDING,
    UNICODE_CLIENT,
    ZEROES,
    BentClient,
    client,
    header,
    log_on,
    token_of,
)
from tests.unit.auth.conftest import PASSWORD, Site

OUR_BINDING = (AvId.CHANNEL_BINDINGS, gss_channel_bindings_hash(BINDING))
OEM_CLIENT = NegotiateFlags.OEM | NegotiateFlags.REQUEST_TARGET | NegotiateFlags.NTLM | NegotiateFlags.ALWAYS_SIGN


def target(name: str) -> tuple[int, bytes]:
    return (AvId.TARGET_NAME, name.encode("utf-16-le"))


# -- arithmetic


def test_keys_and_proof_are_those_of_the_specification() -> None:
    """[MS-NLMP] 4.2.4: user User, domain Domain, password Password."""
    nt_hash = bytes.fromhex("a4f49c406510bdcab6824ee7c30fd852")
    key = ntowf_v2(nt_hash, "User", "Domain")
    assert key.hex() == "0c868a403bfd7a93a3001ef22ef02e3f"
    info = "02000c0044006f006d00610069006e0001000c005300650072007600650072000000000000000000"
    blob = bytes.fromhex("0101000000000000" + "00" * 8 + "aa" * 8 + "00000000" + info)
    response = NtlmV2Response.parse(bytes.fromhex("68cd0ab851e51c96aabc927bebef6a1c") + blob)
    proof = hmac.digest(key, bytes.fromhex("0123456789abcdef") + response.blob, "md5")
    assert proof == response.proof
    session_base_key = hmac.digest(key, proof, "md5")
    assert session_base_key.hex() == "8de40ccadbc14a82f15cb0ad0de95ca3"
    flags = NegotiateFlags.KEY_EXCHANGE | NegotiateFlags.SIGN
    encrypted = bytes.fromhex("c5dad2544fc9799094ce1ce90bc9d03e")
    assert exported_session_key(flags, session_base_key, encrypted) == b"\x55" * 16


def test_rc4_is_rc4() -> None:
    """RFC 6229 2: the first 16 bytes of the key stream of 0102030405."""
    assert rc4(bytes((1, 2, 3, 4, 5)), bytes(16)).hex() == "b2396305f03dc027ccc3524a0a1118a8"


def test_capitals_are_made_one_letter_at_a_time() -> None:
    """3.3.2: Windows has no capital of two letters."""
    assert capitals("alice") == "ALICE"
    assert capitals("jürgen weiß") == "JÜRGEN WEIß"


def test_session_key_is_exchanged_only_for_signing_or_sealing() -> None:
    """3.2.5.1.2."""
    assert exported_session_key(NegotiateFlags.KEY_EXCHANGE, b"k" * 16, b"e" * 16) == b"k" * 16
    assert exported_session_key(NegotiateFlags.SIGN, b"k" * 16, b"") == b"k" * 16


@pytest.mark.parametrize("strength", [NegotiateFlags.KEY_128, NegotiateFlags.KEY_56, NegotiateFlags(0)])
@pytest.mark.parametrize("exchange", [NegotiateFlags.KEY_EXCHANGE, NegotiateFlags(0)])
def test_signatures_are_those_of_another_implementation(strength: NegotiateFlags, exchange: NegotiateFlags) -> None:
    """3.4.4.2, 3.4.5."""
    from spnego._ntlm_raw.crypto import rc4init, sealkey, signkey
    from spnego._ntlm_raw.security import sign

    flags = NegotiateFlags.SIGN | NegotiateFlags.EXTENDED_SESSION_SECURITY | strength | exchange
    key = bytes(range(16))
    ours = NtlmIntegrity(flags, key)

    def theirs(usage: Any) -> bytes:
        return sign(int(flags), rc4init(sealkey(int(flags), key, usage)), signkey(int(flags), key, usage), 0, b"list")

    assert ours.sign(b"list") == theirs("accept")
    assert ours.verify(b"list", theirs("initiate"))
    assert not ours.verify(b"list", theirs("accept"))
    assert not ours.verify(b"tsil", theirs("initiate"))


# -- who gets in


@pytest.mark.parametrize(
    "user", ["CORP\\alice", "corp\\ALICE", "corp.example\\alice", "alice", "alice@corp.example", "Alice@CORP"]
)
def test_every_spelling_of_an_account_logs_on(site: Site, user: str) -> None:
    """The proof covers the client's own spelling, the account is the directory's. 3.3.2."""
    answer = site.run(log_on(site.authenticator, site.connect(), client(user)))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\alice"
    assert answer.requester.sid == site.alice.sid
    assert answer.requester.groups == site.alice.groups
    assert answer.requester.method is AuthMethod.NTLM
    assert answer.requester.origin == "198.51.100.1"
    assert answer.headers == ()


def test_user_principal_name_with_another_suffix_logs_on(site: Site) -> None:
    site.directory.add(make_user("dora", 1110, upn="dora.dee@mail.example"), PASSWORD)
    answer = site.run(log_on(site.authenticator, site.connect(), client("Dora.Dee@mail.example")))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\dora"


def test_names_beyond_ascii_log_on(site: Site) -> None:
    assert isinstance(site.run(log_on(site.authenticator, site.connect(), client("CORP\\jürgen"))), Authenticated)


def test_computer_logs_on(site: Site) -> None:
    answer = site.run(log_on(site.authenticator, site.connect(), client("CORP\\WEB1$", "machine password")))
    assert isinstance(answer, Authenticated)
    assert answer.requester.account == "CORP\\WEB1$"


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("CORP\\alice", "wrong", "wrong password"),
        ("CORP\\nobody", PASSWORD, "unknown account"),
        ("OTHER\\alice", PASSWORD, "unknown account"),
        ("alice@other.example", PASSWORD, "unknown account"),
        ("CORP\\carol", "carols password", "not marked for NTLM"),
        ("CORP\\Guest", PASSWORD, "Guest"),
    ],
)
def test_who_proves_nothing_is_refused(site: Site, user: str, password: str, reason: str) -> None:
    site.assert_refused(site.run(log_on(site.authenticator, site.connect(), client(user, password))), reason)


def test_sid_is_no_account_name(site: Site) -> None:
    site.assert_refused(
        site.run(log_on(site.authenticator, site.connect(), client(site.alice.sid))), "unknown account"
    )


def test_disabled_account_is_refused(site: Site) -> None:
    site.directory.disable(site.alice.sid)
    site.assert_refused(site.run(log_on(site.authenticator, site.connect(), client())), "disabled")


def test_directory_that_hands_out_a_disabled_account_is_not_trusted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    disabled = replace(site.alice, enabled=False)
    nt_hash = site.directory.nt_hash("alice")[1]
    monkeypatch.setattr(site.directory, "nt_hash", lambda name: (disabled, nt_hash))
    site.assert_refused(site.run(log_on(site.authenticator, site.connect(), client())), "disabled")


def test_group_is_refused(site: Site) -> None:
    site.directory.add(make_user("staff", 1120, kind=PrincipalKind.GROUP), PASSWORD)
    site.assert_refused(site.run(log_on(site.authenticator, site.connect(), client("CORP\\staff"))), "group")


# -- what the challenge says


def challenge_for(site: Site, flags: NegotiateFlags) -> ChallengeMessage:
    first = NegotiateMessage(flags).encode()
    answer = site.run(site.authenticator.authenticate(header("NTLM", first), site.connect()))
    token = token_of(answer, "NTLM")
    assert token is not None
    return ChallengeMessage.parse(token)


def test_challenge_names_domain_and_computer(site: Site) -> None:
    """3.2.5.1.1; the timestamp is what makes clients send a MIC (3.1.5.1.2)."""
    challenge = challenge_for(site, UNICODE_CLIENT)

    def text(av_id: AvId) -> str:
        return (challenge.target_info.get(av_id) or b"").decode("utf-16-le")

    assert challenge.target_name == "CORP"
    assert text(AvId.NETBIOS_DOMAIN_NAME) == "CORP"
    assert text(AvId.DNS_DOMAIN_NAME) == "corp.example"
    assert text(AvId.DNS_COMPUTER_NAME) == "ca.corp.example"
    assert text(AvId.NETBIOS_COMPUTER_NAME) == "CA"
    timestamp = int.from_bytes(challenge.target_info.get(AvId.TIMESTAMP) or b"", "little")
    assert timestamp == (1793491200 + 11644473600) * 10_000_000  # 2026-11-01


def test_challenges_never_repeat(site: Site) -> None:
    seen = {challenge_for(site, UNICODE_CLIENT).server_challenge for _ in range(50)}
    assert len(seen) == 50


def test_only_one_character_set_is_granted(site: Site) -> None:
    """2.2.2.5 (A, B): Unicode where both are offered."""
    both = challenge_for(site, UNICODE_CLIENT | NegotiateFlags.OEM)
    assert both.flags & (NegotiateFlags.UNICODE | NegotiateFlags.OEM) == NegotiateFlags.UNICODE
    assert challenge_for(site, OEM_CLIENT).flags & NegotiateFlags.OEM


def test_client_without_a_character_set_is_refused(site: Site) -> None:
    first = NegotiateMessage(NegotiateFlags.NTLM).encode()
    answer = site.run(site.authenticator.authenticate(header("NTLM", first), site.connect()))
    site.assert_refused(answer, "character set")


def test_computer_name_is_our_name_in_the_domain() -> None:
    assert (
        computer_name(frozenset({"www.other.example", "ca.corp.example", "ca"}), "corp.example") == "ca.corp.example"
    )
    assert computer_name(frozenset({"www.other.example", "192.0.2.1", "::1"}), "corp.example") == "www.other.example"
    assert computer_name(frozenset(), "corp.example") == "localhost"


# -- what is refused whatever the settings say


@pytest.mark.parametrize("wanted", list(ChannelBinding))
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nt_response": b"r" * 24}, "NTLMv1"),
        ({"nt_response": b""}, "LM"),
        ({"nt_response": b"", "lm_response": b"\x00", "user": ""}, "anonymous"),
        ({"user": "", "domain": ""}, "anonymous"),
    ],
)
def test_version_1_lm_and_anonymous_are_refused_always(
    site: Site, wanted: ChannelBinding, changes: dict[str, Any], reason: str
) -> None:
    site.policy = AuthenticationPolicy(wanted)
    bent = BentClient(mic=False, bend=lambda message: replace(message, **changes))
    site.assert_refused(site.run(bent.log_on(site.authenticator, site.connect())), reason)


def test_anonymous_flag_is_refused(site: Site) -> None:
    site.allow()
    bent = BentClient(mic=False, bend=lambda m: replace(m, flags=m.flags | NegotiateFlags.ANONYMOUS))
    site.assert_refused(site.run(bent.log_on(site.authenticator, site.connect())), "anonymous")


def test_version_1_client_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real client that was told to use NTLMv1."""
    monkeypatch.setenv("LM_COMPAT_LEVEL", "1")
    site.policy = AuthenticationPolicy(ChannelBinding.OFF)
    site.assert_refused(site.run(log_on(site.authenticator, site.connect(), client())), "NTLMv1")


# -- MIC


@pytest.mark.parametrize("wanted", list(ChannelBinding))
def test_announced_mic_must_be_right(site: Site, wanted: ChannelBinding) -> None:
    """3.2.5.1.2."""
    site.policy = AuthenticationPolicy(wanted)
    bent = BentClient(bend=lambda message: replace(message, mic=b"m" * 16))
    site.assert_refused(site.run(bent.log_on(site.authenticator, site.connect())), "MIC is wrong")


def test_announced_mic_must_be_there(site: Site) -> None:
    site.allow()
    bent = BentClient(bend=lambda message: replace(message, mic=None, version=b""))
    site.assert_refused(site.run(bent.log_on(site.authenticator, site.connect())), "announced a MIC and sent none")


def test_mic_covers_all_three_messages(site: Site) -> None:
    """A type 1 that was changed on its way is noticed."""
    bent = BentClient()
    real = bent.negotiate
    bent.negotiate = NegotiateMessage(UNICODE_CLIENT | NegotiateFlags.KEY_56).encode()

    async def tampered() -> Any:
        connection = site.connect()
        first = await site.authenticator.authenticate(header("NTLM", real), connection)
        last = bent.authenticate(token_of(first, "NTLM") or b"")
        return await site.authenticator.authenticate(header("NTLM", last), connection)

    site.assert_refused(site.run(tampered()), "MIC is wrong")


def test_missing_mic_is_refused_where_bindings_are_required(site: Site) -> None:
    site.assert_refused(site.run(BentClient(mic=False).log_on(site.authenticator, site.connect())), "no MIC")


def test_missing_mic_passes_where_no_mic_is_asked_for(site: Site) -> None:
    site.policy = AuthenticationPolicy.from_settings("require", ntlm_mic=False)
    assert isinstance(site.run(BentClient(mic=False).log_on(site.authenticator, site.connect())), Authenticated)


def test_no_mic_asked_for_takes_no_missing_binding_and_no_wrong_one(site: Site) -> None:
    site.policy = AuthenticationPolicy.from_settings("require", ntlm_mic=False)
    unbound = BentClient(flags=OEM_CLIENT, pairs=(), mic=False)
    site.assert_refused(site.run(unbound.log_on(site.authenticator, site.connect())), "no channel binding")
    elsewhere = site.connect(bindings=(OTHER_BINDING,))
    relayed = BentClient(mic=False)
    site.assert_refused(site.run(relayed.log_on(site.authenticator, elsewhere)), "another TLS connection")


def test_an_announced_mic_must_be_right_though_none_is_asked_for(site: Site) -> None:
    site.policy = AuthenticationPolicy.from_settings("require", ntlm_mic=False)
    bent = BentClient(bend=lambda message: replace(message, mic=b"m" * 16))
    site.assert_refused(site.run(bent.log_on(site.authenticator, site.connect())), "MIC is wrong")


def test_missing_mic_passes_where_bindings_are_allowed(site: Site) -> None:
    site.allow()
    assert isinstance(site.run(BentClient(mic=False).log_on(site.authenticator, site.connect())), Authenticated)


# -- OEM clients, as curl is one


def test_oem_client_without_mic_and_bindings_passes_under_allow_only(site: Site) -> None:
    curl = BentClient(flags=OEM_CLIENT, pairs=(), mic=False)
    site.assert_refused(site.run(curl.log_on(site.authenticator, site.connect())), "no MIC")
    site.allow()
    assert isinstance(site.run(curl.log_on(site.authenticator, site.connect())), Authenticated)


# -- channel bindings


@pytest.mark.parametrize(
    ("sent", "off", "allow", "require"),
    [
        (OUR_BINDING[1], True, True, True),
        (gss_channel_bindings_hash(OTHER_BINDING), True, False, False),
        (b"short", True, False, False),
        (ZEROES, True, True, False),
        (None, True, True, False),
    ],
    ids=["right", "another connection's", "malformed", "all zeroes", "absent"],
)
def test_channel_binding_policy(site: Site, sent: bytes | None, off: bool, allow: bool, require: bool) -> None:
    """[MS-NLMP] 3.2.5.1.2; all zeroes are what a client without TLS sends, hence what a relay brings."""
    for wanted, expected in zip(ChannelBinding, (off, allow, require), strict=True):
        site.policy = AuthenticationPolicy(wanted)
        pairs = () if sent is None else ((AvId.CHANNEL_BINDINGS, sent),)
        answer = site.run(BentClient(pairs=pairs).log_on(site.authenticator, site.connect()))
        assert isinstance(answer, Authenticated) is expected, wanted
        if not expected:
            site.assert_refused(answer, "channel binding")


def test_binding_of_the_certificate_before_the_renewal_is_right(site: Site) -> None:
    """A resumed TLS session still shows the client the certificate of before."""
    connection = site.connect(bindings=(OTHER_BINDING, BINDING))
    assert isinstance(site.run(log_on(site.authenticator, connection, client())), Authenticated)


def test_listener_without_bindings_lets_nobody_in_under_require(site: Site) -> None:
    site.assert_refused(
        site.run(log_on(site.authenticator, site.connect(bindings=()), client())), "another TLS connection"
    )


def test_requester_log_tells_the_binding(site: Site) -> None:
    site.allow()
    site.run(log_on(site.authenticator, site.connect(), client()))
    site.run(log_on(site.authenticator, site.connect(), client(binding=None)))
    accepted = [entry for entry in site.logs if entry["event"] == "logon_accepted"]
    assert [entry["binding"] for entry in accepted] == ["matched", "absent"]
    assert {entry["account"] for entry in accepted} == {"CORP\\alice"}
    assert {entry["peer"] for entry in accepted} == {"198.51.100.1"}


# -- target names


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("HTTP/ca.corp.example", True),
        ("http/CA.Corp.Example:8443", True),
        ("HTTP/ca.corp.example./realm", True),
        ("HTTP/192.0.2.7:8443", True),
        ("HTTP/[::1]:8443", True),
        ("HTTP/::1", True),
        ("", True),
        ("host/unspecified", True),
        ("HTTP/files.corp.example", False),
        ("cifs/ca.corp.example", False),
        ("HTTP/", False),
        ("ca.corp.example", False),
    ],
)
def test_target_name_is_ours_or_absent(site: Site, name: str, is_ours: bool) -> None:
    """MsvAvTargetName: a logon meant for a file server is not one here, whoever passes it on."""
    for wanted in (ChannelBinding.REQUIRE, ChannelBinding.ALLOW):
        site.policy = AuthenticationPolicy(wanted)
        answer = site.run(BentClient(pairs=(OUR_BINDING, target(name))).log_on(site.authenticator, site.connect()))
        assert isinstance(answer, Authenticated) is is_ours
        if not is_ours:
            site.assert_refused(answer, "not a name of this server")


def test_target_name_is_not_looked_at_when_bindings_are_off(site: Site) -> None:
    site.policy = AuthenticationPolicy(ChannelBinding.OFF)
    bent = BentClient(pairs=(target("cifs/files.corp.example"),))
    assert isinstance(site.run(bent.log_on(site.authenticator, site.connect())), Authenticated)


# -- connections


def test_answer_to_one_challenge_is_worthless_on_another_connection(site: Site) -> None:
    """Neither fresh nor after a type 1 of its own."""

    async def replay() -> None:
        here, there, fresh = site.connect(), site.connect(), site.connect()
        bent = BentClient()
        first = await site.authenticator.authenticate(header("NTLM", bent.negotiate), here)
        last = header("NTLM", bent.authenticate(token_of(first, "NTLM") or b""))
        await site.authenticator.authenticate(header("NTLM", bent.negotiate), there)
        site.assert_refused(await site.authenticator.authenticate(last, there), "wrong password")
        site.assert_refused(await site.authenticator.authenticate(last, fresh), "did not begin")
        assert isinstance(await site.authenticator.authenticate(last, here), Authenticated)
        site.assert_refused(await site.authenticator.authenticate(last, here), "did not begin")
        assert here.auth is None

    site.run(replay())


def test_connections_in_the_middle_of_a_handshake_do_not_mix(site: Site) -> None:
    people = {
        name: site.directory.add(make_user(name, 2000 + i), f"pw {name}") for i, name in enumerate("abcdefghij")
    }

    async def one(name: str) -> None:
        connection = site.connect()
        scheme, protocol = (("NTLM", "ntlm"), ("Negotiate", "negotiate"))[ord(name) % 2]
        initiator = client(f"CORP\\{name}", f"pw {name}", protocol=protocol)
        token = initiator.step()
        while True:
            await asyncio.sleep(0)
            answer = await site.authenticator.authenticate(header(scheme, token), connection)
            if isinstance(answer, Authenticated):
                break
            token = initiator.step(token_of(answer, scheme))
        for _ in range(5):
            await asyncio.sleep(0)
            again = await site.authenticator.authenticate(None, connection)
            assert isinstance(again, Authenticated)
            assert again.requester.sid == people[name].sid

    async def all_at_once() -> None:
        await asyncio.gather(*(one(name) for name in people for _ in range(3)))

    site.run(all_at_once())


def test_wrong_password_for_one_does_not_end_another(site: Site) -> None:
    async def two() -> None:
        good, bad = site.connect(), site.connect()
        await log_on(site.authenticator, good, client())
        await log_on(site.authenticator, bad, client(password="wrong"))
        assert isinstance(await site.authenticator.authenticate(None, good), Authenticated)
        assert not isinstance(await site.authenticator.authenticate(None, bad), Authenticated)

    site.run(two())


def test_proof_with_a_wrong_binding_forgets_no_failures(site: Site) -> None:
    """Who passes somebody's right proof on must not get new guesses for it."""

    async def relay() -> None:
        for _ in range(4):
            await log_on(site.authenticator, site.connect(), client(password="wrong"))
        await log_on(site.authenticator, site.connect(), client(binding=OTHER_BINDING))
        await log_on(site.authenticator, site.connect(), client(password="wrong"))

    site.run(relay())
    assert site.throttle.wait(Sid(site.alice.sid), "198.51.100.1") > 0


def test_messages_of_a_client_without_tls_are_refused(site: Site) -> None:
    """The relay of ESC8: the victim authenticates to a plain HTTP or SMB server that passes everything on."""
    victim = spnego.client(
        "CORP\\alice", PASSWORD, hostname="files.corp.example", service="cifs", protocol="ntlm",
        options=spnego.NegotiateOptions.use_ntlm,
    )  # fmt: skip
    site.assert_refused(site.run(log_on(site.authenticator, site.connect(), victim)), "no channel binding")
