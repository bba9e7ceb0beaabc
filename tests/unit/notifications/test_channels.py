"""Channels carry messages over real sockets, protect what is secret, and call nobody they should not."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from certwright.adcs.errors import BadRequestState, ConfigurationError, InvalidArgument
from certwright.adcs.events import LifecycleKind
from certwright.notifications.channels.base import ChannelError
from certwright.notifications.targets import Targets
from certwright.notifications.values import EmailFields, MailSecurity, WebhookFields, make_key
from tests.support.notifying import ACTOR, NOW, PASSWORD, SIGNING_KEY, Notifying, event, notifying
from tests.support.receivers import Receiver, mail_server, webhook_receiver

EMAIL = EmailFields("Mail", "mail.corp.example", "ca@corp.example", ("ops@corp.example",))
HOOK = WebhookFields("Hook", "https://hooks.example.com/in")


# -- webhooks --------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_a_signed_document(world: Notifying, receiver: Receiver) -> None:
    """HMAC-SHA-256 over time stamp, full stop and body (RFC 2104), computed here by other means."""
    channel = world.webhook(receiver, path="/in?team=pki")
    world.rule(channel)
    world.room.notify(event(template="WebServer", order=7))

    report = world.room.deliver(world.now)

    (call,) = receiver.calls
    signed = f"{int(NOW.timestamp())}.".encode() + call.body
    digest = hmac.digest(SIGNING_KEY.encode(), signed, hashlib.sha256).hex()
    document = json.loads(call.body)
    assert report.delivered == 1
    assert call.path == "/in?team=pki"
    assert call.headers["host"] == f"localhost:{receiver.port}"
    assert call.headers["x-certwright-signature"] == f"v1={digest}"
    assert call.headers["x-certwright-timestamp"] == str(int(NOW.timestamp()))
    assert call.headers["x-certwright-delivery"] == document["id"]
    assert document["event"] == "order-issued"
    assert document["facts"] == {"template": "WebServer", "order": 7}
    assert document["when"] == "2026-03-01T12:00:00Z"


@pytest.mark.parametrize(
    ("kind", "number"), [(LifecycleKind.CERTIFICATE_EXPIRING, 1003), (LifecycleKind.CA_ISSUED, 4887)]
)
def test_a_document_names_the_number_that_windows_logs(
    world: Notifying, receiver: Receiver, kind: LifecycleKind, number: int
) -> None:
    world.rule(world.webhook(receiver))
    world.room.notify(event(kind, band=7))

    world.room.deliver(world.now)

    assert json.loads(receiver.calls[0].body)["windows_event"] == number


def test_redirects_are_not_followed(world: Notifying, receiver: Receiver) -> None:
    receiver.statuses = [302]
    receiver.location = f"https://localhost:{receiver.port}/elsewhere"

    outcome = world.room.channels.test(world.webhook(receiver).id, actor=ACTOR)

    assert not outcome.ok
    assert "302" in outcome.message
    assert [call.path for call in receiver.calls] == ["/in"]


def test_a_certificate_that_is_not_trusted_ends_it(world: Notifying, receiver: Receiver) -> None:
    url = f"https://localhost:{receiver.port}/in"
    channel = world.room.channels.add(WebhookFields("Unpinned", url), SIGNING_KEY, actor=ACTOR)

    outcome = world.room.channels.test(channel.id, actor=ACTOR)

    assert not outcome.ok
    assert "not trusted" in outcome.message
    assert receiver.calls == []
    assert world.room.channels.get(channel.id).last_error == outcome.message


def test_the_environment_names_no_proxy_for_webhooks(
    world: Notifying, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert world.room.channels.test(world.webhook(receiver).id, actor=ACTOR).ok


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_a_webhook_calls_no_address_inside(address: str) -> None:
    targets = Targets([], lambda _host, _port: ["93.184.215.14", address])

    with pytest.raises(ChannelError, match="not public"):
        targets.resolve("hooks.example.com", 443)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_a_webhook_calls_the_internet(address: str) -> None:
    assert Targets([], lambda _host, _port: [address]).resolve("hooks.example.com", 443) == address


@pytest.mark.parametrize(
    ("allowed", "found"),
    [(["hooks.corp.example"], "10.9.9.9"), (["10.0.0.0/8"], "10.9.9.9"), (["10.9.9.9"], "::ffff:10.9.9.9")],
)
def test_what_the_installer_lists_may_be_called(allowed: Sequence[str], found: str) -> None:
    targets = Targets(allowed, lambda _host, _port: [found])

    assert targets.resolve("Hooks.corp.example.", 443) == found


@pytest.mark.parametrize("text", ["http://x", "10.0.0.0/99", "", "a b/c"])
def test_nonsense_on_the_list_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook-allow"):
        Targets([text])


def test_the_address_that_was_judged_is_the_one_that_is_called(tmp_path: Path, receiver: Receiver) -> None:
    """A name may answer differently the next time; the connection does not ask again."""
    asked: list[str] = []

    def resolver(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with notifying(tmp_path, Targets(["127.0.0.0/8"], resolver)) as world:
        outcome = world.room.channels.test(world.webhook(receiver).id, actor=ACTOR)

    assert outcome.ok, outcome.message
    assert asked == ["localhost"]  # and the certificate was verified for that name


def test_without_tls_only_listed_hosts_are_called(world: Notifying) -> None:
    with webhook_receiver(tls=False) as plain:
        assert world.room.channels.test(world.webhook(plain, scheme="http").id, actor=ACTOR).ok
    with pytest.raises(InvalidArgument, match="https"):
        world.room.channels.add(WebhookFields("Open", "http://hooks.example.com/"), SIGNING_KEY, actor=ACTOR)


# -- mail ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", [MailSecurity.STARTTLS, MailSecurity.TLS])
def test_mail_goes_out_encrypted_and_logged_on(world: Notifying, security: MailSecurity) -> None:
    with mail_server(tls=security is MailSecurity.TLS, password=PASSWORD) as inbox:
        world.rule(world.email(inbox, security=security), name="Tell the team")
        world.room.notify(event(LifecycleKind.CERTIFICATE_EXPIRING, band=7, template="Web\nServer", subject="CN=ü"))
        report = world.room.deliver(world.now)

    (mail,) = inbox.mails
    assert report.delivered == 1
    assert inbox.encrypted == [True]
    assert inbox.logons == ["mailer"]
    assert inbox.envelopes == [("ca@corp.example", ["ops@corp.example", "pki@corp.example"])]
    assert mail["Subject"] == "The certificate www.corp.example expires within 7 days"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == "<delivery-1@ca.corp.example>"
    assert mail.get_content_type() == "text/plain"
    text = mail.get_content()
    assert "template: Web Server" in " ".join(text.split())
    assert "CN=ü" in text
    assert "Tell the team" in text


def test_mail_without_a_logon_may_go_in_clear(world: Notifying) -> None:
    with mail_server() as inbox:
        outcome = world.room.channels.test(world.email(inbox, security=MailSecurity.NONE).id, actor=ACTOR)

    assert outcome.ok
    assert inbox.encrypted == [False]
    assert world.room.channels.list()[0].last_success == NOW


def test_a_header_cannot_be_smuggled_in(world: Notifying) -> None:
    with mail_server() as inbox:
        world.rule(world.email(inbox))
        world.room.notify(replace(event(), object="www\r\nBcc: eve@corp.example\r\n\r\nhello"))
        world.room.deliver(world.now)

    (mail,) = inbox.mails
    assert mail["Bcc"] is None
    assert "www Bcc: eve@corp.example hello" in mail["Subject"]


def test_a_wrong_password_is_told_and_never_repeated(world: Notifying) -> None:
    """The server of this test repeats the password in its refusal; ours must not."""
    with mail_server(password=PASSWORD) as inbox, structlog.testing.capture_logs() as logged:
        channel = world.email(inbox)
        inbox.password = "another one"
        world.rule(channel)
        world.room.notify(event())
        world.room.deliver(world.now)

    assert "refuses the logon of mailer" in world.room.channels.get(channel.id).last_error
    assert PASSWORD not in f"{logged}{world.audited}{world.room.channels.list()}{world.room.history()}"


def test_a_mail_server_whose_certificate_is_not_trusted_gets_no_password(world: Notifying) -> None:
    with mail_server(password=PASSWORD) as inbox:
        inbox.ca_pem = ""
        outcome = world.room.channels.test(world.email(inbox).id, actor=ACTOR)

    assert "not trusted" in outcome.message
    assert inbox.logons == []


def test_a_recipient_that_is_refused_is_named_and_the_others_get_it(world: Notifying) -> None:
    with mail_server() as inbox:
        inbox.refuse_recipients = frozenset({"pki@corp.example"})
        some = world.room.channels.test(world.email(inbox).id, actor=ACTOR)
        inbox.refuse_recipients = frozenset({"pki@corp.example", "ops@corp.example"})
        none = world.room.channels.test(1, actor=ACTOR)

    assert some.ok
    assert "refused pki@corp.example" in some.message
    assert not none.ok
    assert "nobody of that name" in none.message
    assert inbox.envelopes == [("ca@corp.example", ["ops@corp.example"])]


# -- administration --------------------------------------------------------------------------------------------------


def test_secrets_are_sealed_bound_to_their_row_and_in_nothing_else(world: Notifying, tmp_path: Path) -> None:
    with mail_server(password=PASSWORD) as inbox:
        world.email(inbox)
    world.room.channels.add(HOOK, SIGNING_KEY, actor=ACTOR)
    world.room.channels.replace_secret(2, f"{SIGNING_KEY}-again", actor=ACTOR)

    shown = f"{world.room.channels.list()!r}{world.audited!r}"
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("certwright.db*"))
    with sqlite3.connect(tmp_path / "certwright.db") as connection:
        connection.execute(
            "UPDATE notifications_channel SET secret = (SELECT secret FROM notifications_channel WHERE id = 2)"
        )
    connection.close()
    moved = world.room.channels.test(1, actor=ACTOR)

    for secret in (PASSWORD, SIGNING_KEY):
        assert secret not in shown
        assert secret.encode() not in stored
    assert "cannot be opened" in moved.message
    assert [each.has_secret for each in world.room.channels.list()] == [True, True]


def test_a_secret_does_not_follow_a_channel_to_another_host(world: Notifying) -> None:
    hook = world.room.channels.add(HOOK, SIGNING_KEY, actor=ACTOR)
    mail = world.room.channels.add(replace(EMAIL, username="mailer"), PASSWORD, actor=ACTOR)

    with pytest.raises(InvalidArgument, match="secret of its own"):
        world.room.channels.edit(hook.id, replace(HOOK, url="https://evil.example/"), actor=ACTOR)
    with pytest.raises(InvalidArgument, match="secret of its own"):
        world.room.channels.edit(mail.id, replace(EMAIL, username="mailer", host="evil.example"), actor=ACTOR)
    moved = world.room.channels.edit(mail.id, replace(EMAIL, host="other.example"), actor=ACTOR)

    assert not moved.has_secret  # a channel without a logon needs no password
    assert world.room.channels.edit(hook.id, replace(HOOK, url=f"{HOOK.url}?x=1"), actor=ACTOR).has_secret


@pytest.mark.parametrize(
    ("fields", "secret", "sentence"),
    [
        (replace(EMAIL, name=" "), "", "name is missing"),
        (replace(EMAIL, host="mail server"), "", "host name"),
        (replace(EMAIL, port=0), "", "1 to 65535"),
        (replace(EMAIL, sender="ca"), "", "mail address"),
        (replace(EMAIL, recipients=()), "", "recipients"),
        (replace(EMAIL, recipients=("a@b\r\nc",)), "", "mail address"),
        (replace(EMAIL, username="mailer"), "", "both or neither"),
        (EMAIL, "a password", "both or neither"),
        (replace(EMAIL, username="mailer", security=MailSecurity.NONE), "a password", "without TLS"),
        (replace(EMAIL, ca_pem="nothing"), "", "PEM"),
        (replace(EMAIL, ca_pem="é"), "", "PEM"),  # not even ASCII
        (HOOK, "short", "16"),
        (replace(HOOK, url="ftp://hooks.example.com/"), SIGNING_KEY, "https"),
        (replace(HOOK, url="https://u:p@hooks.example.com/"), SIGNING_KEY, "password"),
        (replace(HOOK, url="https:///in"), SIGNING_KEY, "host name"),
        (replace(HOOK, url="https://hooks.example.com:x/"), SIGNING_KEY, "URL"),
        (replace(HOOK, url="https://hooks.example.com/\r\nX: y"), SIGNING_KEY, "control"),
    ],
)
def test_what_cannot_be_used_is_refused(
    world: Notifying, fields: EmailFields | WebhookFields, secret: str, sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        world.room.channels.add(fields, secret, actor=ACTOR)
    assert world.room.channels.list() == []
    assert world.audited == []


def test_a_channel_with_rules_goes_only_when_confirmed(world: Notifying) -> None:
    channel = world.room.channels.add(HOOK, make_key(), actor=ACTOR)
    world.rule(channel, name="Everything")

    with pytest.raises(BadRequestState, match="Everything"):
        world.room.channels.delete(channel.id, actor=ACTOR)
    gone = world.room.channels.delete(channel.id, confirmed=True, actor=ACTOR)

    assert gone == 1
    assert world.room.rules.list() == []
    assert [each.details["change"] for each in world.audited] == ["added", "added", "deleted"]
