"""What a client makes of pages, in the languages that real servers speak.

The pages below were typed by hand from the shapes that clients' expressions describe, with the words of each language
and the identifiers left alone; none is a copy of a server's page.
"""

from __future__ import annotations

import base64
import time

import pytest

from certwright.adcs.errors import BadRequest, HResult
from certwright.pki.armor import armor
from certwright.pki.cms import certs_only
from certwright.wire.certsrv import (
    Denied,
    Error,
    Issued,
    Pending,
    Retrieved,
    Unknown,
    decode_certificate,
    decode_chain,
    parse_ca_page,
    parse_outcome,
    parse_retrieval,
    parse_templates,
)
from certwright.wire.certsrv.answers import MAX_PAGE
from tests.support.certsrv import FakeCa, csr_pem

HTML = "text/html; charset=utf-8"
DENIED_CODE = 0x80094800


def page(*body: str, title: str = "Microsoft Active Directory Certificate Services", ca: str = "CORP-CA2") -> str:
    """A page with furniture that must not confuse anybody: a CA name with a digit, a script, a style."""
    text = "\r\n".join(body)
    return (
        f'<html><head><title>{title}</title><style>td {{ width: 10px }}</style></head><body bgcolor="#ffffff">'
        f'<script>var x="one"; var y=3; // "quoted"\r\n</script><table width="100%"><tr><td>{title} -- {ca}</td>'
        f'<td><a href="/certsrv">Home</a></td></tr></table>{text}</body></html>'
    )


LINK = 'function handleGetCert() {\r\n  location="certnew.cer?ReqID=4711&" + getEncoding();\r\n}'

ISSUED = {
    "English": ("Certificate Issued", "The certificate you requested was issued to you."),
    "German": ("Zertifikat ausgestellt", "Das angeforderte Zertifikat wurde ausgestellt."),
    "French": ("Certificat émis", "Le certificat que vous avez demandé a été émis."),
    "Japanese": ("証明書は発行されました", "要求した証明書が発行されました。"),
    "Russian": ("Сертификат выдан", "Запрошенный сертификат был выдан."),
    "Turkish": ("Sertifika Verildi", "İstediğiniz sertifika verildi."),
}

PENDING = {
    "English": "However, you must wait for an administrator. Your Request Id is 4711. Return within 10 days.",
    "German": "Sie müssen auf einen Administrator warten. Ihre Anforderungs-ID ist 4711. Binnen 10 Tagen.",
    "French": "Vous devez attendre un administrateur. L'ID de votre demande est 4711. Revenez dans les 10 jours.",
    "Japanese": "管理者を待つ必要があります。要求 ID は 4711 です。10 日以内に戻ってください。",
    "Russian": "Дождитесь администратора. Код вашего запроса: 4711. Вернитесь в течение 10 дней.",
    "Turkish": "Bir yöneticiyi beklemelisiniz. İstek Kimliğiniz 4711. 10 gün içinde geri dönün.",
}

DENIED = {
    "English": ('The disposition message is "{}"', "Denied by Policy Module  0x80094800, not supported: X."),
    "German": ('Die Dispositionsmeldung lautet "{}"', "Vom Richtlinienmodul verweigert  0x80094800, nicht: X."),
    "French": ('Le message est "{}"', "Refusé par le module de stratégie  0x80094800, modèle inconnu : X."),
    "Japanese": ('処理のメッセージは "{}"', "ポリシー モジュールにより拒否されました  0x80094800, X"),
    "Russian": ('Сообщение: "{}"', "Отказано модулем политики  0x80094800, шаблон не поддерживается: X."),
    "Turkish": ('Değerlendirme iletisi "{}"', "İlke Modülü tarafından reddedildi  0x80094800, X."),
}


@pytest.mark.parametrize("language", ISSUED)
def test_an_issued_page_is_known_by_its_link_in_every_language(language: str) -> None:
    headline, sentence = ISSUED[language]

    outcome = parse_outcome(page(f"<script>{LINK}</script>", f"<p>{headline}</p><p>{sentence}</p>"))

    assert outcome == Issued(4711)


@pytest.mark.parametrize("language", PENDING)
def test_a_pending_page_gives_its_id_in_every_language(language: str) -> None:
    headline = "Certificate Pending" if language == "English" else "…"

    outcome = parse_outcome(page(f"<p><b>{headline}</b></p>", f"<p>{PENDING[language]}</p>"))

    assert isinstance(outcome, Pending)
    assert outcome.request_id == 4711
    assert outcome.certain == (language == "English")


def test_numbers_up_to_the_last_known_id_are_no_request_ids() -> None:
    """A CA's counter only grows: an unmarked number that is smaller is something else."""
    text = page("<p>Bitte warten Sie. Es sind 12 Anforderungen offen. Nummer 4711.</p>", ca="CORP-CA 7")

    assert parse_outcome(text, last_known_id=4000) == Pending(4711, certain=False)


@pytest.mark.parametrize("language", DENIED)
def test_a_denied_page_gives_message_code_and_id_in_every_language(language: str) -> None:
    sentence, message = DENIED[language]
    identifier = (
        PENDING[language].split(".")[1].split("。")[0] if language != "Japanese" else "要求 ID は 4711 です。"
    )

    outcome = parse_outcome(page(f"<p>{identifier}. {sentence.format(message)}</p>"))

    assert isinstance(outcome, Denied)
    assert outcome.message == message
    assert outcome.status == DENIED_CODE
    assert outcome.request_id == 4711


@pytest.mark.parametrize(
    "message",
    ["Denied by Policy Module", "Vom Richtlinienmodul verweigert", "ポリシー モジュールにより拒否されました"],
)
def test_a_denial_in_words_alone_is_known_by_its_straight_quotes(message: str) -> None:
    outcome = parse_outcome(page(f'<p>Ihre Anforderungs-ID ist 4712. Die Meldung lautet "{message}"</p>'))

    assert outcome == Denied(message, None, 4712)


@pytest.mark.parametrize(
    ("disposition", "last"), [("Disposition message:", "LastStatus:"), ("Dispositionsmeldung:", "Letzter Status:")]
)
def test_an_error_page_is_known_by_its_two_tabs(disposition: str, last: str) -> None:
    text = page(
        "<pre>",
        f"{disposition}</b>\t\t(none)",
        f"{last}</b>\t\tDer RPC-Server ist nicht verfügbar. 0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)",
        "</pre>",
    )

    outcome = parse_outcome(text)

    assert isinstance(outcome, Error)
    assert outcome.status == HResult.RPC_S_SERVER_UNAVAILABLE
    assert "0x800706ba" in outcome.message


def test_an_error_without_lines_is_known_by_code_and_signed_decimal() -> None:
    outcome = parse_outcome(page("<p>Le serveur a échoué. 0x80070005 (-2147024891)</p>"))

    assert isinstance(outcome, Error)
    assert outcome.status == HResult.E_ACCESSDENIED


@pytest.mark.parametrize("text", ["", "<html></html>", "<p>It works!</p>", "<<<>>>", "\x00\x01", '"'])
def test_a_page_without_any_signal_is_an_error_and_its_text_is_kept_bounded(text: str) -> None:
    outcome = parse_outcome(text)

    assert isinstance(outcome, Error)
    assert len(outcome.message) <= 500


def test_markup_never_reaches_a_message() -> None:
    outcome = parse_outcome("<p>Oops <script>alert('x')</script><img src=x onerror=alert(1)> again</p>")

    assert outcome == Error("Oops again")


# -- certnew.cer -----------------------------------------------------------------------------------------------------


def error_page(
    disposition: str, status: str, words: tuple[str, str] = ("Disposition message:", "LastStatus:")
) -> bytes:
    return page("<pre>", f"{words[0]}</b>\t\t{disposition}", f"{words[1]}</b>\t\t{status}", "</pre>").encode()


EMPTY = "The requested property value is empty. 0x80094004 (-2146877436 CERTSRV_E_PROPERTY_EMPTY)"
GERMAN = ("Dispositionsmeldung:", "Letzter Status:")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (error_page("Taken Under Submission", "The operation completed. 0x0 (WIN32: 0)"), Pending),
        (error_page("Zur Übermittlung angenommen", "Vorgang erfolgreich. 0x0 (WIN32: 0)", GERMAN), Pending),
        (error_page("Denied by Policy Module", "No. 0x80094012 (-2146877422)"), Denied),
        (error_page("Verweigert", "Nein. 0x80094012 (-2146877422)", GERMAN), Denied),
        (error_page("Error Parsing Request", "Bad. 0x8009310b (ASN: 267)"), Denied),
        (error_page("(none)", EMPTY), Unknown),
        (error_page("(keine)", "Der Wert ist leer. 0x80094004 (-2146877436)", GERMAN), Unknown),
        (error_page("(none)", "Down. 0x800706ba (WIN32: 1722)"), Error),
        (page("<p>403</p>").encode(), Error),
    ],
)
def test_retrieval_is_classified_by_codes_before_words(body: bytes, expected: type) -> None:
    answer = parse_retrieval(HTML, body, 4711)

    assert type(answer) is expected
    if isinstance(answer, Pending | Denied):
        assert answer.request_id == 4711


def test_a_retrieved_certificate_is_known_by_its_content_type_alone() -> None:
    certificate = FakeCa().certificate()

    assert parse_retrieval("application/pkix-cert", certificate) == Retrieved(certificate)
    assert parse_retrieval("Application/PKIX-cert; x=y", armor("CERTIFICATE", certificate).encode()) == Retrieved(
        certificate
    )
    assert isinstance(parse_retrieval("application/octet-stream", certificate), Error)


def test_pages_in_old_code_pages_are_read() -> None:
    body = page("<pre>", "Сообщение:</b>\t\tОтказано", "Статус:</b>\t\tНет. 0x80094012 (-2146877422)", "</pre>")

    answer = parse_retrieval("text/html; charset=windows-1251", body.encode("windows-1251"))

    assert isinstance(answer, Denied)
    assert answer.message.startswith("Нет.")


@pytest.mark.parametrize("label", ["CERTIFICATE", "PKCS7", "CMS"])
def test_chains_come_under_several_labels(label: str) -> None:
    chain = (FakeCa().certificate(), FakeCa().root_certificate)
    cms = certs_only(chain)

    assert decode_chain(armor(label, cms, "\r\n").encode()) == chain
    assert decode_chain(cms) == chain


def test_a_bare_base64_certificate_is_read() -> None:
    certificate = FakeCa().certificate()

    assert decode_certificate(base64.encodebytes(certificate)) == certificate


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----", b"\xff\xfe", csr_pem().encode()[:80]]
)
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_certificate(data)


# -- the other pages -------------------------------------------------------------------------------------------------


def test_the_newest_ca_certificate_is_read_from_certcarc() -> None:
    assert parse_ca_page(page("<script>var nRenewals=3;</script>")).newest == 3
    with pytest.raises(BadRequest):
        parse_ca_page(page("nothing"))


def test_templates_are_read_from_the_right_select_only() -> None:
    text = page(
        '<select name="other"><Option Value="E;Wrong;1">Wrong</select>',
        '<select name="lbCertTemplate" id="lbCertTemplateID">',
        '<Option Value="E;User;1;0;0;0;0;0;;;3;;;Benutzer">Benutzer',
        "<option selected value='O;WebServer;1'>Webserver</option>",
        "<Option Value=Plain>Plain",
        '<Option Value="">-',
        "</select>",
        '<select name="more"><Option Value="E;Wrong2;1">Wrong</select>',
    )

    options = parse_templates(text)

    assert [option.name for option in options] == ["User", "WebServer", "Plain"]
    assert [option.display_name for option in options] == ["Benutzer", "Webserver", "Plain"]
    assert parse_templates(page("<p>No templates could be found.</p>")) == ()


def test_pages_are_bounded() -> None:
    with pytest.raises(BadRequest):
        parse_outcome("x" * (MAX_PAGE + 1))
    with pytest.raises(BadRequest):
        parse_retrieval(HTML, b"x" * (MAX_PAGE + 1))


@pytest.mark.parametrize(
    "unit",
    [
        "<script",
        "<option value=",
        '<option value="',
        "<",
        '"',
        ":\t",
        "\t\t",
        "1",
        "ID 1 ",
        "<select lbCertTemplate ",
    ],
)
def test_hostile_pages_are_read_in_linear_time(unit: str) -> None:
    """Half a megabyte of anything is read in well under a second."""
    text = unit * (MAX_PAGE // len(unit))

    start = time.process_time()
    parse_outcome(text)
    parse_templates('<select name="lbCertTemplate">' + text[: MAX_PAGE - 40])
    assert time.process_time() - start < 3
