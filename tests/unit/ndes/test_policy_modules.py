"""Policy modules: the webhook over real HTTP, installed modules by real entry points; both as the guide has them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from certwright.adcs.errors import AccessDenied, ConfigurationError, InvalidArgument
from certwright.adcs.requester import AuthMethod, Requester, Sid
from certwright.ndes import modules
from certwright.ndes.policy import (
    ChallengeAsked,
    Disposition,
    KeepsNotices,
    ModuleContext,
    Outcome,
    PolicyModule,
    PolicyUnavailable,
    RequestAsked,
)
from certwright.ndes.settings import NdesSettings
from certwright.ndes.webhook import MAX_ANSWER, WebhookPolicy, WebhookSettings
from certwright.notifications.channels.webhook import signature
from tests.support.receivers import server_context
from tests.support.requests import web_server_request
from tests.support.scripted_https import make_authority
from tests.support.scripted_https import make_server as make_https_identity

KEY: Final = "0123456789abcdef" * 4
GUIDE: Final = Path(__file__).parents[3] / "docs/guide/ndes-policy.md"
SOMEBODY: Final = Requester(r"CORP\anna", Sid("S-1-5-21-1-2-3-1104"), frozenset(), AuthMethod.LOCAL)
NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def asked(challenge: str = "", name: str = "kiosk1.corp.example", signer: bytes | None = None) -> RequestAsked:
    return RequestAsked(web_server_request(name), challenge, signer, "WebServer", "t1", (name,), "192.0.2.7")


OUTCOME: Final = Outcome(Disposition.SUCCESS, "t1", "WebServer", b"request", "c", 7, 0, "Issued", b"certificate")


class Receiver:
    """A server that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes = b'{"accepted": true}'
        self.headers: dict[str, str] = {}
        self.wait = threading.Event()
        self.wait.set()
        self.asked: list[tuple[dict[str, str], bytes]] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked.append((dict(self.headers), body))
                receiver.wait.wait(5)
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def listening(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, int]]:
    made = Receiver()
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), made.handler())) as port:
        yield made, port
        made.wait.set()


@pytest.fixture
def opened() -> Iterator[Callable[[WebhookSettings], WebhookPolicy]]:
    made: list[WebhookPolicy] = []

    def open_one(settings: WebhookSettings) -> WebhookPolicy:
        policy = WebhookPolicy(settings, lambda: NOW)
        policy.initialize(ModuleContext("branch"))
        made.append(policy)
        return policy

    yield open_one
    for each in made:
        each.uninitialize()


@pytest.fixture
def webhook(receiver: tuple[Receiver, int], opened: Callable[[WebhookSettings], WebhookPolicy]) -> WebhookPolicy:
    return opened(WebhookSettings(f"http://127.0.0.1:{receiver[1]}/scep", KEY, 1.0))


# -- the webhook -----------------------------------------------------------------------------------------------------


def test_a_question_is_signed(receiver: tuple[Receiver, int], webhook: WebhookPolicy) -> None:
    assert webhook.verify_request(asked("secret")).accepted
    headers, body = receiver[0].asked[0]
    assert headers["X-Certwright-Event"] == "ndes.verify"
    timestamp = int(headers["X-Certwright-Timestamp"])
    assert timestamp == int(NOW.timestamp())
    assert headers["X-Certwright-Signature"] == signature(KEY, timestamp, body)
    question = json.loads(body)
    assert (question["service"], question["challenge"], question["signing_certificate"]) == ("branch", "secret", None)


def test_a_refusal_has_its_reasons(receiver: tuple[Receiver, int], webhook: WebhookPolicy) -> None:
    receiver[0].body = b'{"accepted": false, "rule": "stock\\u001b", "text": "Not one of ours."}'
    verdict = webhook.verify_request(asked())
    assert not verdict.accepted
    assert verdict.rule == "webhook: stock"
    assert verdict.text == "Not one of ours."


@pytest.mark.parametrize(
    ("status", "body", "pattern"),
    [
        (500, b'{"accepted": true}', "status 500"),
        (204, b"", "status 204"),
        (302, b'{"accepted": true}', "status 302"),
        (200, b"", "no JSON"),
        (200, b"yes", "no JSON"),
        (200, b"[true]", "no JSON object"),
        (200, b"{}", "neither"),
        (200, b'{"accepted": "true"}', "neither"),
        (200, b'{"accepted": 1}', "neither"),
        (200, b" " * (MAX_ANSWER + 1), "more than"),
    ],
)
def test_what_is_no_answer_is_no(
    receiver: tuple[Receiver, int], webhook: WebhookPolicy, status: int, body: bytes, pattern: str
) -> None:
    receiver[0].status, receiver[0].body = status, body
    receiver[0].headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else {}
    with pytest.raises(PolicyUnavailable, match=pattern):
        webhook.verify_request(asked())


def test_who_does_not_answer_in_time_says_no(
    receiver: tuple[Receiver, int], opened: Callable[[WebhookSettings], WebhookPolicy]
) -> None:
    receiver[0].wait.clear()
    policy = opened(WebhookSettings(f"http://127.0.0.1:{receiver[1]}/", KEY, 0.2))
    with pytest.raises(PolicyUnavailable, match="in time"):
        policy.verify_request(asked())
    receiver[0].wait.set()


def test_who_is_not_there_says_no(opened: Callable[[WebhookSettings], WebhookPolicy]) -> None:
    with pytest.raises(PolicyUnavailable, match="cannot be asked"):
        opened(WebhookSettings("http://127.0.0.1:1/", KEY, 1.0)).verify_request(asked())


def test_challenges_come_from_the_webhook(receiver: tuple[Receiver, int], webhook: WebhookPolicy) -> None:
    receiver[0].body = json.dumps({"challenge": "x" * 8192}).encode()
    question = ChallengeAsked(SOMEBODY, "WebServer", ("a.corp.example",), "SN-1")
    assert webhook.generate_challenge(question) == "x" * 8192
    assert json.loads(receiver[0].asked[0][1])["parameters"] == "SN-1"
    for body in (b'{"text": "No such device."}', json.dumps({"challenge": "x" * 8193}).encode()):
        receiver[0].body = body
        with pytest.raises(AccessDenied, match=r"No such device|gives no challenge"):
            webhook.generate_challenge(question)


def test_a_notice_says_what_became_of_a_request(receiver: tuple[Receiver, int], webhook: WebhookPolicy) -> None:
    assert isinstance(webhook, KeepsNotices)
    webhook.tell(17, json.loads(json.dumps(webhook.notice_of(OUTCOME))))
    webhook.notify(replace(OUTCOME, disposition=Disposition.FAILURE, certificate=None))
    (headers, _), _ = receiver[0].asked
    first, second = (json.loads(body) for _, body in receiver[0].asked)
    assert headers["X-Certwright-Event"] == "ndes.notify"
    assert headers["X-Certwright-Delivery"] == "notice-17"
    assert (first["disposition"], second["disposition"]) == ("success", "failure")
    assert first["thumbprint"] == hashlib.sha1(b"certificate").hexdigest()
    assert second["certificate"] is None


@pytest.mark.parametrize("status", [204, 299])
def test_any_success_takes_a_notice(receiver: tuple[Receiver, int], webhook: WebhookPolicy, status: int) -> None:
    receiver[0].status, receiver[0].body = status, b""
    webhook.notify(OUTCOME)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_anything_else_does_not(receiver: tuple[Receiver, int], webhook: WebhookPolicy, status: int) -> None:
    receiver[0].status = status
    with pytest.raises(PolicyUnavailable, match=str(status)):
        webhook.notify(OUTCOME)


@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        (WebhookSettings("http://mdm.corp.example/", KEY), "plain http"),
        (WebhookSettings("ftp://mdm.corp.example/", KEY), "address of a server"),
        (WebhookSettings("https://user@mdm.corp.example/", KEY), "address of a server"),
        (WebhookSettings("", KEY), "address of a server"),
        (WebhookSettings("https://mdm.corp.example/", ""), "signing key"),
        (WebhookSettings("https://mdm.corp.example/", KEY, ca_pem="nonsense"), "no certificate"),
    ],
)
def test_a_webhook_that_could_not_be_trusted_is_refused(settings: WebhookSettings, pattern: str) -> None:
    with pytest.raises(ConfigurationError, match=pattern):
        settings.check()


def test_plain_http_is_for_this_host_or_where_it_is_said() -> None:
    WebhookSettings("http://localhost:8090/", KEY).check()
    WebhookSettings("http://mdm.corp.example/", KEY, plain=True).check()


def test_the_certificate_of_the_webhook_is_verified(opened: Callable[[WebhookSettings], WebhookPolicy]) -> None:
    authority = make_authority("Test CA")
    identity = make_https_identity(authority, "localhost")
    made = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), made.handler())
    server.socket = server_context(identity).wrap_socket(server.socket, server_side=True)
    with listening(server) as port:
        url = f"https://localhost:{port}/"
        assert opened(WebhookSettings(url, KEY, 2.0, ca_pem=authority.pem)).verify_request(asked()).accepted
        with pytest.raises(PolicyUnavailable, match="cannot be asked"):
            opened(WebhookSettings(url, KEY, 2.0)).verify_request(asked())


# -- as the guide has it ---------------------------------------------------------------------------------------------


def shown(title: str) -> str:
    """The program of the guide that begins with a title."""
    programs = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (found,) = [each for each in programs if each.startswith(f'"""{title}')]
    assert isinstance(found, str)
    return found


class Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_validator_of_the_guide_works(opened: Callable[[WebhookSettings], WebhookPolicy]) -> None:
    program: dict[str, Any] = {"__name__": "validator"}
    exec(shown("validator.py"), program)
    program["KEY"] = KEY
    server = make_server("127.0.0.1", 0, program["application"], handler_class=Silent)
    with listening(server) as port:
        policy = WebhookPolicy(WebhookSettings(f"http://127.0.0.1:{port}/", KEY))  # the clock of today
        policy.initialize(ModuleContext(""))
        challenge = policy.generate_challenge(ChallengeAsked(SOMEBODY, parameters="SN-1001"))
        assert policy.verify_request(asked(challenge)).accepted
        assert policy.verify_request(asked("", signer=b"certificate")).accepted
        other = policy.verify_request(asked(challenge, "kiosk2.corp.example"))
        assert (other.accepted, other.rule) == (False, "webhook: name")
        assert not policy.verify_request(asked("SN-1001.00")).accepted
        with pytest.raises(AccessDenied, match="no device SN-9"):
            policy.generate_challenge(ChallengeAsked(SOMEBODY, parameters="SN-9"))
        policy.notify(OUTCOME)
        policy.uninitialize()
        with pytest.raises(PolicyUnavailable, match="403"):
            opened(WebhookSettings(f"http://127.0.0.1:{port}/", "f" * 64)).verify_request(asked(challenge))
    assert program["told"] == [("t1", "success", hashlib.sha1(b"certificate").hexdigest())]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the module of the guide, where Python finds packages."""
    (tmp_path / "mdm_policy.py").write_text(shown("mdm_policy.py"))
    folder = tmp_path / "mdm_policy-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mdm-policy\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{modules.GROUP}]\nmdm = mdm_policy:MdmPolicy\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_the_module_of_the_guide_works() -> None:
    assert "mdm" in modules.module_names()
    keeper = keeper_of()
    settings = NdesSettings(policy="mdm", policy_options="00" * 16)
    module = keeper.of(settings)
    assert keeper.of(settings) is module
    challenge = module.generate_challenge(ChallengeAsked(SOMEBODY, parameters="kiosk1.corp.example"))
    assert module.verify_request(asked(challenge)).accepted
    assert module.verify_request(asked(challenge, "kiosk2.corp.example")).rule == "another name"
    assert module.verify_request(asked("x" + challenge)).rule == "challenge of somebody else"
    other = keeper.of(replace(settings, policy_options="11" * 16))
    assert other is not module
    assert not other.verify_request(asked(challenge)).accepted
    keeper.close()


def test_a_module_that_is_not_there_is_refused_and_answers_nothing() -> None:
    with pytest.raises(InvalidArgument, match="there are: built-in, webhook"):
        modules.require_module("mdm2")
    with pytest.raises(PolicyUnavailable, match="not installed"):
        keeper_of().of(NdesSettings(policy="mdm2"))


class Counting:
    """A module that remembers its life."""

    calls: Final[list[str]] = []
    broken = False

    def initialize(self, context: ModuleContext) -> None:
        self.calls.append(f"initialize {context.options}")
        if self.broken:
            raise RuntimeError("no licence")

    def generate_challenge(self, asked: ChallengeAsked) -> str:
        return "c"

    def verify_request(self, asked: RequestAsked) -> Any:
        return None

    def notify(self, outcome: Outcome) -> None:
        pass

    def uninitialize(self) -> None:
        self.calls.append("uninitialize")


def test_a_module_begins_once_and_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Counting.calls.clear()
    keeper = keeper_of()
    monkeypatch.setattr(keeper, "_create", lambda settings: Counting())
    settings = NdesSettings(policy="x", policy_options="a")
    first: PolicyModule = keeper.of(settings)
    assert keeper.of(replace(settings, challenge_minutes=5)) is first
    keeper.of(replace(settings, policy_options="b"))
    keeper.close()
    assert Counting.calls == ["initialize a", "initialize b", "uninitialize", "uninitialize"]


def test_a_module_that_does_not_come_up_is_not_tried_at_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    Counting.calls.clear()
    keeper = keeper_of()
    monkeypatch.setattr(Counting, "broken", True)
    monkeypatch.setattr(keeper, "_create", lambda settings: Counting())
    for _ in range(3):
        with pytest.raises(PolicyUnavailable, match="RuntimeError: no licence"):
            keeper.of(NdesSettings(policy="x"))
    assert Counting.calls == ["initialize "]


def keeper_of() -> modules.PolicyKeeper:
    class Own:
        service = ""

    own: Any = Own()
    return modules.PolicyKeeper(own, lambda sealed: sealed, lambda: NOW, lambda: b"")
