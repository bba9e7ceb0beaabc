"""Web Enrollment as a server of another language shows it: the identifiers of the pages, and words at random.

The pages are typed by hand from the shapes that clients' expressions describe (links, select, quoted message, two
TABs, codes); every word between is drawn from a language's vocabulary, anew for each seed, so that a client which
reads words is found out. Pages come in the code page that such a server uses.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.pki.cms import certs_only
from tests.support.scripted_https import Identity, Reply, Seen

_VOCABULARY: Final = {
    "English": "certificate request issued pending administrator download chain home welcome select policy module",
    "German": "Zertifikat Anforderung ausgestellt wartet Administrator Prüfung Größe Vorlage für Zurück Übermittlung",
    "French": "certificat demandé émis attente administrateur télécharger chaîne modèle refusé jusqu'à répondre été",
    "Japanese": "証明書 要求 発行 保留 管理者 待つ ダウンロード チェーン ポリシー 拒否 テンプレート 日本語 戻る",
    "Russian": "сертификат запрос выдан ожидание администратор загрузка цепочка политика отказано шаблон день домой",
    "Turkish": "sertifika istek verildi bekleyen yönetici indir zincir ilke şablon reddedildi gün giriş ığdır çağrı",
}
_CODE_PAGES: Final = {
    "English": "utf-8",
    "German": "iso-8859-1",
    "French": "windows-1252",
    "Japanese": "shift_jis",
    "Russian": "windows-1251",
    "Turkish": "windows-1254",
}
LANGUAGES: Final = tuple(_VOCABULARY)

Decision = Literal["issue", "pend", "deny", "deny in words", "no ca", "garbage", "wrong key"]


@dataclass
class LocalizedPages:
    """Pages in one language; the same seed gives the same words."""

    language: str
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.language} {self.seed}")
        self._words = _VOCABULARY[self.language].split()

    def words(self, count: int = 6) -> str:
        return " ".join(self._random.choice(self._words) for _ in range(count))

    def page(self, *body: str) -> Reply:
        codec = _CODE_PAGES[self.language]
        text = (
            f'<html><head><meta http-equiv="Content-Type" content="text/html; charset={codec}"><title>{self.words(3)}'
            f'</title><style>td {{ width: 12px }}</style></head><body bgcolor="#ffffff"><table width="100%"><tr><td>'
            f'{self.words(2)} -- CORP-CA2</td><td><a href="/certsrv">{self.words(1)}</a></td></tr></table>'
            + "\r\n".join(body)
            + "</body></html>"
        )
        return Reply(text.encode(codec, "xmlcharrefreplace"))

    def home(self) -> Reply:
        links = "".join(
            f'<li><a href="{each}.asp">{self.words(3)}</a>' for each in ("certrqus", "certckpn", "certcarc")
        )
        return self.page(f"<p>{self.words(20)}</p><ul>{links}</ul>")

    def issued(self, request_id: int) -> Reply:
        return self.page(
            f"<p><b>{self.words(2)}</b></p><p>{self.words(9)}.</p>",
            "<script>function handleGetCert() {",
            f'  location="certnew.cer?ReqID={request_id}&" + getEncoding();',
            "}",
            "function handleGetChain() {",
            f'  location="certnew.p7b?ReqID={request_id}&" + getEncoding();',
            "}</script>",
        )

    def pending(self, request_id: int) -> Reply:
        return self.page(
            f"<p><b>{self.words(2)}</b></p><p>{self.words(12)}.</p>",
            f"<p>{self.words(3)} {request_id}. {self.words(2)} 10 {self.words(3)}.</p>",
        )

    def denied(self, request_id: int, code: int | None) -> Reply:
        coded = "" if code is None else f"  0x{code:08x}, {self.words(9)}: X."
        return self.page(
            f"<p><b>{self.words(3)}</b></p><p>{self.words(4)} {request_id}. {self.words(3)} "
            f'"{self.words(4)}{coded}"</p><p>{self.words(8)}.</p>'
        )

    def error(self, code: int, symbol: str = "") -> Reply:
        signed = code - (1 << 32) if code >> 31 else code
        lines = (
            f"{self.words(2)}:</b>\t\tnewreq - {self.words(2)}",
            f"{self.words(2)}:</b>\t\t({self.words(1)})",
            f"{self.words(2)}:</b>\t\t{self.words(5)}. 0x{code:x} ({signed} {symbol})",
        )
        return self.page("<pre>", *lines, "</pre>")

    def templates(self, *names: tuple[str, bool]) -> Reply:
        options = [
            f'<Option Value="{"O" if supplies else "E"};{name};1;134217744;0;16;0;0;;1.3.6.1.4.1.311.21.8.{at};100;1;'
            f'4;{self.words(2)}">{self.words(2)}'
            for at, (name, supplies) in enumerate(names)
        ]
        select = [f'<select name="lbCertTemplate" id="lbCertTemplateID">{self.words(1)}', *options, "</select>"]
        return self.page(f"<form><p>{self.words(8)}</p>", *(select if names else ()), "</form>")

    def ca(self, newest: int) -> Reply:
        return self.page(f"<script>var nRenewals={newest};</script><p>{self.words(10)}</p>")


@dataclass
class Site:
    """An AD CS behind such pages; call it as the pages of a `ScriptedServer`."""

    issuer: Identity
    pages: LocalizedPages = field(default_factory=lambda: LocalizedPages("English"))
    decision: Decision = "issue"
    code: int = 0x80094800
    next_id: int = 4711
    offered: Sequence[tuple[str, bool]] = (("WebServer", True), ("User", False))
    rows: dict[int, bytes | Literal["pending"] | int] = field(default_factory=dict)  # certificate, waiting, or a code

    def __call__(self, seen: Seen) -> Reply:
        query = {name.lower(): values[0] for name, values in parse_qs(seen.query).items()}
        match seen.page:
            case "" | "default.asp":
                return self.pages.home()
            case "certfnsh.asp" if seen.method == "POST":
                return self.submitted(seen)
            case "certrqxt.asp":
                return self.pages.templates(*self.offered)
            case "certcarc.asp":
                return self.pages.ca(0)
            case "certnew.cer" if query["reqid"] == "CACert":
                return Reply(self.issuer.der, content_type="application/pkix-cert")
            case "certnew.p7b" if query["reqid"] == "CACert":
                chain = [each.public_bytes(Encoding.DER) for each in reversed(self.issuer.above)]
                return Reply(certs_only([*chain, self.issuer.der]), content_type="application/x-pkcs7-certificates")
            case "certnew.cer":
                return self.retrieved(int(query["reqid"]))
            case "certcrl.crl":
                return Reply(self.crl(), content_type="application/pkix-crl")
            case _:
                return Reply("<h1>404</h1>", 404)

    def submitted(self, seen: Seen) -> Reply:
        number = self.record(seen)
        match self.decision:
            case "issue" | "wrong key":
                return self.pages.issued(number)
            case "pend":
                return self.pages.pending(number)
            case "deny":
                return self.pages.denied(number, self.code)
            case "deny in words":
                return self.pages.denied(number, None)
            case "no ca":
                return self.pages.error(0x800706BA, "RPC_S_SERVER_UNAVAILABLE")
            case _:
                return self.pages.page("<p>:-)</p>")

    def record(self, seen: Seen) -> int:
        """Take a request in, and decide."""
        form = parse_qs(seen.body.decode("ascii"), keep_blank_values=True)
        request = x509.load_pem_x509_csr(form["CertRequest"][0].encode())
        number, self.next_id = self.next_id, self.next_id + 1
        if self.decision in ("issue", "wrong key"):
            key = self.issuer.key.public_key() if self.decision == "wrong key" else request.public_key()
            self.rows[number] = self.issue(request.subject, key)
        elif self.decision in ("deny", "deny in words"):
            self.rows[number] = self.code
        elif self.decision == "pend":
            self.rows[number] = "pending"
        return number

    def issue(self, subject: x509.Name, key: object) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self.issuer.certificate.subject,
            subject,
            key,  # type: ignore[arg-type]
            x509.random_serial_number(),
            now - timedelta(minutes=10),
            now + timedelta(days=365),
        )
        return builder.sign(self.issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def retrieved(self, number: int) -> Reply:
        row = self.rows.get(number)
        if isinstance(row, bytes):
            return Reply(row, content_type="application/pkix-cert")
        if row == "pending":
            return self.pages.error(0)
        return self.pages.error(0x80094004 if row is None else row)

    def crl(self) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(
            self.issuer.certificate.subject, now - timedelta(hours=1), now + timedelta(days=7)
        )
        return builder.sign(self.issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)
