"""The pages as HTML: jinja2 for what only people see, prepared texts for what scripts fetch by the thousand.

A prepared page is a template rendered once with stand-ins; filling it in is one string operation. Values for it are
HTML already: `Frame` and the marker functions escape what comes from outside. Every other page is rendered with
autoescape on and fails on a name it does not know.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from certwright.adcs.errors import AdcsError, HResult
from certwright.adcs.request import Disposition, Response
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.web_enrollment.assets import Assets
from certwright.web_enrollment.explanations import explain
from certwright.web_enrollment.pending import PendingNote
from certwright.web_enrollment.service import KnownRequest
from certwright.wire.certsrv import TemplateOption, markers

_STAND_IN: Final = re.compile("\ue000([a-z_]+)\ue001")
_NEW_REQUEST: Final = "newreq - New Request"
_RETRIEVAL: Final = "retrieval"
_NO_SUCH_REQUEST: Final = "There is no request with this ID that you may see."


class Frame(NamedTuple):
    """What stands around every page: who is signed in and which CA answers, as plain text."""

    requester: Requester
    config: str

    @property
    def ca(self) -> str:
        return self.config.partition("\\")[2] or self.config


@dataclass(frozen=True, slots=True)
class Choice:
    """One template on offer, in the words of the request page."""

    option: Markup
    name: str
    display_name: str
    purposes: str
    validity: str
    key: str
    algorithm: str  # as the template names it: RSA, ECDSA_P256 ...; empty means any
    minimal_key_size: int
    supplies_subject: bool
    approval: bool
    hint: str


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One line of the list of this browser's requests."""

    request_id: int
    sent: datetime
    colour: str
    icon: str
    word: str
    message: str
    issued: bool


@dataclass(frozen=True, slots=True)
class CaCertificateRow:
    index: int
    label: str
    view: CertificateView
    current: bool
    expired: bool
    has_delta: bool  # its key has a delta CRL


class Prepared:
    """A page rendered once, with the places that change marked."""

    def __init__(self, text: str) -> None:
        texts = _STAND_IN.split(text)  # text, name, text, name, ..., text
        self._parts = [part.encode("utf-8", "replace") for part in texts]
        self._names = [(place, texts[place]) for place in range(1, len(texts), 2)]

    def fill(self, values: Mapping[str, object]) -> bytes:
        """The page. The values are HTML: nothing is escaped here."""
        parts = self._parts.copy()
        for place, name in self._names:
            parts[place] = str(values[name]).encode("utf-8", "replace")
        return b"".join(parts)


class Pages:
    """Every page of /certsrv. Templates are compiled here, once."""

    def __init__(self, assets: Assets) -> None:
        folder = files("certwright.web_enrollment").joinpath("templates")
        self._environment = Environment(
            loader=DictLoader({file.name: file.read_text("utf-8") for file in folder.iterdir()}),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(day=_day, moment=_moment)
        icons: Any = self._environment.get_template("icons.html").module
        self._environment.globals.update(
            icon=icons.icon, state=icons.state, copyable=icons.copyable, assets=assets.folder, root=""
        )
        self._icons = icons
        self._templates = {
            name: self._environment.get_template(name)
            for name in ("home.html", "choose.html", "request.html", "requests.html", "ca.html", "facts.html")
        }
        self._refusal_template = self._environment.get_template("refusal.html")
        self._issued = self._prepare("issued.html", "script", "request_id", "notice", "facts")
        self._pending = self._prepare("pending.html", "sentence", "reason", "request_id")
        self._denied = self._prepare("denied.html", "what", "remedy", "code", "sentence")
        self._error = self._prepare("error.html", "headline", "chip", "tint", "sign", "what", "remedy", "details")
        self.refusal_to_strangers = lru_cache(maxsize=64)(self._refusal_to_strangers)

    def _prepare(self, name: str, *places: str) -> Prepared:
        values = {place: Markup(f"\ue000{place}\ue001") for place in ("account", "ca", *places)}  # noqa: S704
        return Prepared(self._environment.get_template(name).render(values))

    # -- outcomes ----------------------------------------------------------------------------------------------

    def issued(self, frame: Frame, response: Response, *, with_facts: bool) -> bytes:
        """The certificate is there. Facts of it are for people; scripts fetch the certificate itself."""
        facts = ""
        if with_facts and response.certificate is not None:
            view = CertificateView.parse(response.certificate)
            names = [str(name) for name in view.alternative_names]
            facts = self._templates["facts.html"].render(view=view, names=names)
        return self._issued.fill(
            {
                **_frame(frame),
                "script": markers.issued_script(response.request_id),
                "request_id": response.request_id,
                "notice": self._revoked_notice() if response.disposition is Disposition.REVOKED else "",
                "facts": facts,
            }
        )

    def pending(self, frame: Frame, response: Response) -> bytes:
        """The request waits for a certificate manager."""
        reason = response.message.removeprefix(markers.TAKEN_UNDER_SUBMISSION).strip()
        return self._pending.fill(
            {
                **_frame(frame),
                "sentence": markers.request_id_sentence(response.request_id),
                "reason": f"<p>Why it waits: {markers.escaped(reason)}</p>" if reason else "",
                "request_id": response.request_id,
            }
        )

    def denied(self, frame: Frame, response: Response) -> bytes:
        """The request was refused, or could not even be read."""
        explanation = explain(response.status, refusal=True)
        return self._denied.fill(
            {
                **_frame(frame),
                "what": html.escape(explanation.what),
                "remedy": html.escape(explanation.remedy),
                "code": self._icons.copyable("result code", f"{response.status.hex} {response.status.name}")
                if response.status
                else "",
                "sentence": f"{markers.request_id_sentence(response.request_id)} "
                f"{markers.disposition_sentence(response.message)}.",
            }
        )

    def not_available(self, frame: Frame, response: Response) -> bytes:
        """certnew.* of a request that has no certificate: it waits, was refused, or failed."""
        number = response.request_id
        if response.disposition is Disposition.UNDER_SUBMISSION:
            headline, chip, tint, sign = (
                f"Request {number} is waiting",
                ("yellow", "clock", "Pending"),
                "yellow",
                "clock",
            )
            what = "A certificate manager has not decided yet."
            remedy = "There is nothing to download so far. Ask again later; nothing has to be sent again."
            state = "Under Submission"
        else:
            explanation = explain(response.status, refusal=True)
            headline, chip, tint, sign = f"Request {number} was refused", ("red", "stop", "Denied"), "red", "stop"
            what, remedy, state = explanation.what, explanation.remedy, "Denied"
            if response.disposition is not Disposition.DENIED:
                headline, chip, state = f"Request {number} failed", ("red", "alert", "Failed"), "Error"
        return self._error.fill(
            {
                **_frame(frame),
                "headline": headline,
                "chip": self._icons.state(*chip),
                "tint": f"cw-notice-{tint}",
                "sign": self._icons.icon(sign),
                "what": html.escape(what),
                "remedy": html.escape(remedy),
                "details": _details(
                    _RETRIEVAL, state, response.message, explain(response.status).what, response.status, number
                ),
            }
        )

    def failure(self, frame: Frame, error: AdcsError, *, retrieval: bool) -> bytes:
        """The CA gave no decision: it cannot be reached, the arguments are wrong, the caller has no right."""
        explanation = explain(error.status)
        unknown = error.status is HResult.CERTSRV_E_PROPERTY_EMPTY
        return self._error.fill(
            {
                **_frame(frame),
                "headline": "No such request" if unknown else "The request could not be completed",
                "chip": self._icons.state("gray", "help", "Unknown")
                if unknown
                else self._icons.state("red", "alert", "Error"),
                "tint": "cw-notice-yellow" if unknown else "cw-notice-red",
                "sign": self._icons.icon("alert"),
                "what": _NO_SUCH_REQUEST if unknown else html.escape(explanation.what),
                "remedy": html.escape(explanation.remedy),
                "details": _details(
                    _RETRIEVAL if retrieval else _NEW_REQUEST,
                    "(never set)",
                    error.message,
                    explanation.what,
                    error.status,
                ),
            }
        )

    # -- pages for people ----------------------------------------------------------------------------------------

    def home(self, frame: Frame, note: PendingNote) -> bytes:
        return self._render(
            "home.html",
            frame,
            config=frame.config,
            method=frame.requester.method.value,
            waiting=len(note.entries),
        )

    def choose(self, frame: Frame) -> bytes:
        return self._render("choose.html", frame)

    def request(self, frame: Frame, templates: Sequence[CertificateTemplate] | None, *, make_key: bool) -> bytes:
        """The request form. A CA that knows no templates gets a form without a choice."""
        choices = None if templates is None else [choice_of(template) for template in templates]
        return self._render("request.html", frame, choices=choices, source="make" if make_key else "paste")

    def requests(self, frame: Frame, note: PendingNote, known: Sequence[KnownRequest]) -> bytes:
        """This browser's requests with their states of now."""
        sent = {entry.request_id: entry.sent for entry in note.entries}
        rows = [_row(request, datetime.fromtimestamp(sent[request.request_id], UTC)) for request in known]
        return self._render("requests.html", frame, rows=rows)

    def ca(
        self,
        frame: Frame,
        certificates: Sequence[CertificateView],
        now: datetime,
        deltas: Collection[int] = (),
    ) -> bytes:
        """The CA's certificates, newest first, with what can be downloaded of each.

        Args:
            deltas: those whose key has a delta CRL.
        """
        newest = len(certificates) - 1
        rows = [
            CaCertificateRow(
                index=index,
                label=f"Current [{frame.ca}]" if index == newest else f"Previous [{frame.ca}({index})]",
                view=view,
                current=index == newest,
                expired=view.not_after <= now,
                has_delta=index in deltas,
            )
            for index, view in reversed(list(enumerate(certificates)))
        ]
        renewals = Markup(markers.renewals_script(newest))  # noqa: S704 - a number inside a constant
        return self._render("ca.html", frame, certificates=rows, renewals=renewals)

    def refusal(
        self, frame: Frame | None, status: int, headline: str, text: str, hints: Sequence[str] = (), *, root: str = ""
    ) -> bytes:
        """A page that says no: wrong place, wrong method, too long, or a fault of ours."""
        values = {
            "account": frame.requester.account if frame else "",
            "ca": frame.ca if frame else "",
            "root": root,
            "status": status,
            "headline": headline,
            "text": text,
            "hints": hints,
        }
        return self._refusal_template.render(values).encode("utf-8", "replace")

    def _refusal_to_strangers(
        self, status: int, headline: str, text: str, hints: tuple[str, ...] = (), root: str = ""
    ) -> bytes:
        return self.refusal(None, status, headline, text, hints, root=root)

    def _render(self, name: str, frame: Frame, **values: object) -> bytes:
        page = self._templates[name].render(account=frame.requester.account, ca=frame.ca, **values)
        return page.encode("utf-8", "replace")

    def _revoked_notice(self) -> str:
        return (
            f'<div class="cw-notice cw-notice-yellow">{self._icons.icon("ban")}<div><h2>This certificate has been '
            "revoked since.</h2><p>Whoever checks it refuses it. Request a new one if it is needed.</p></div></div>"
        )


def choice_of(template: CertificateTemplate) -> Choice:
    """A template in the words of the request page."""
    option = TemplateOption.from_template(template)
    usages = template.application_policies or template.extended_key_usage
    purposes = ", ".join(oids.name_of(usage) for usage in usages) or "Any purpose"
    validity = duration_words(template.validity_period)
    bits = option.minimal_key_size
    algorithm = template.key_policy.get("msPKI-Asymmetric-Algorithm", "")
    approval = "; a certificate manager has to approve" if template.requires_approval else ""
    return Choice(
        option=Markup(option.to_html()),  # noqa: S704 - escaped by TemplateOption, whose exact shape clients need
        name=template.cn,
        display_name=option.display_name,
        purposes=purposes,
        validity=validity,
        key=key_words(algorithm, bits),
        algorithm=algorithm,
        minimal_key_size=bits,
        supplies_subject=template.enrollee_supplies_subject,
        approval=template.requires_approval,
        hint=f"{purposes}; valid for {validity}; key: {key_words(algorithm, bits)}{approval}.",
    )


def key_words(algorithm: str, bits: int) -> str:
    """Which keys a template takes. Without an algorithm the size is RSA's, and other kinds must be as strong."""
    if algorithm.startswith("EC"):
        return algorithm.replace("_", " ")
    if not bits:
        return algorithm or "any"
    return f"{algorithm} from {bits} bits" if algorithm else f"RSA {bits} or stronger"


def duration_words(period: timedelta) -> str:
    """A template's period as people write it: 2 years, 6 weeks, 12 hours."""
    seconds = int(period.total_seconds())
    for unit, length in (("year", 365 * 86400), ("month", 30 * 86400), ("week", 7 * 86400), ("day", 86400)):
        if seconds >= length and seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    hours = max(round(seconds / 3600), 1)
    return f"{hours} hour" if hours == 1 else f"{hours} hours"


def _frame(frame: Frame) -> dict[str, object]:
    return {"account": html.escape(frame.requester.account), "ca": html.escape(frame.ca)}


def _details(mode: str, state: str, message: str, result: str, status: HResult, request_id: int | None = None) -> str:
    """The plain-text block of an error page. Lines end in LF; values end where their line ends."""
    lines = [markers.error_line("Request Mode", mode), markers.error_line("Disposition", state)]
    if request_id is not None:
        lines.append(markers.error_line("Request ID", str(request_id)))
    lines += [markers.disposition_line(message), markers.last_status_line(result, status)]
    return "\n".join(lines)


def _row(request: KnownRequest, sent: datetime) -> RequestRow:
    response = request.response
    colour, icon, word = _STATES.get(request.disposition, ("red", "alert", "Failed"))
    message = "" if response is None or response.is_issued else markers.plain(response.message)
    message = message.removeprefix(markers.TAKEN_UNDER_SUBMISSION).strip()
    if response is None:
        message = "The CA shows no such request to your account."
    issued = response is not None and response.certificate is not None
    return RequestRow(request.request_id, sent, colour, icon, word, message, issued)


_STATES: Final[Mapping[Disposition | None, tuple[str, str, str]]] = {
    None: ("gray", "help", "Unknown"),
    Disposition.ISSUED: ("green", "check", "Issued"),
    Disposition.ISSUED_OUT_OF_BAND: ("green", "check", "Issued"),
    Disposition.UNDER_SUBMISSION: ("yellow", "clock", "Pending"),
    Disposition.DENIED: ("red", "stop", "Denied"),
    Disposition.REVOKED: ("purple", "ban", "Revoked"),
}

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _day(when: datetime) -> str:
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}"


def _moment(when: datetime) -> str:
    return f"{_day(when)} {when:%H:%M} UTC"
