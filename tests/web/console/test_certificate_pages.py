"""The certificate page and the list: what a certificate says, its locations asked on demand, and acts on many."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from certwright.connectors.locations import CrlFound, Location, OcspFound, OcspStatus
from certwright.console.access import Role
from certwright.console.rooms import Rooms, furnish, rooms
from certwright.manager.importing import ImportFile
from certwright.manager.inventory_values import InventoryQuery
from certwright.manager.values import DeviceUserFields, RuleFields, ServiceFields, ServiceKind
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlEntry, CrlReason
from certwright.pki.linting import LinterMissing
from tests.support.installation import PASSWORD, People
from tests.support.inventory_files import certificate
from tests.support.server import DOMAIN
from tests.web.console.conftest import Browser, text_of

ACTOR = r"CORP\Administrator"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    manager = rooms().manager
    manager.orders.delete([order.id for order in manager.orders.list().rows], actor=ACTOR)
    manager.inventory.delete(manager.inventory.ids(InventoryQuery()), with_key=True, actor=ACTOR)
    for rule in manager.renewal.list():
        manager.renewal.delete(rule.id, actor=ACTOR)
    for service in manager.services.list():
        manager.services.delete(service.id, confirmed=True, actor=ACTOR)
    for user in manager.device_users.list():
        manager.device_users.delete(user.id, actor=ACTOR)


@pytest.fixture
def administrator(sign_in: Callable[..., Browser]) -> Browser:
    return sign_in(People.ADMINISTRATOR)


def imported(name: str, days: float = 100, *, owner: str = "", tag: str = "", managed: bool = True) -> int:
    data = certificate(name, days=days, now=rooms().clock())
    result = rooms().manager.importing.store(
        [ImportFile("x.cer", data)], owner=owner, tags=[tag] if tag else [], managed=managed, actor=ACTOR
    )
    number: int = result.added[0]
    return number


@pytest.fixture
def ordered(administrator: Browser) -> int:
    """One of our own CA, by an order, with its key and chain."""
    manager = rooms().manager
    user = manager.device_users.add(DeviceUserFields("svc", People.ENROLLEE), PASSWORD, actor=ACTOR)
    fields = ServiceFields(DOMAIN, rooms().hostname, user.id, kind=ServiceKind.LOCAL)
    manager.services.refresh(manager.services.add(fields, actor=ACTOR).id, actor=ACTOR)
    return ordered_here("web7")


def ordered_here(host: str) -> int:
    from certwright.keystores.base import KeyAlgorithm
    from certwright.manager.values import AlternativeName, KeyFields, OrderFields

    name = f"{host}.{DOMAIN}"
    key = KeyFields(KeyAlgorithm.ECDSA_P256, f"CN={name}", (AlternativeName.parse(f"DNS:{name}"),))
    order = rooms().manager.orders.place(
        OrderFields(domain=DOMAIN, template="WebServer", key=key, owner=ACTOR), actor=ACTOR
    )
    number: int = rooms().manager.orders.fetch(order.id, actor=ACTOR)
    return number


# -- the certificate page --------------------------------------------------------------------------------------------


def test_extensions_are_decoded_with_name_oid_and_critical(administrator: Browser, ordered: int) -> None:
    page = text_of(administrator.get(f"/inventory/{ordered}/"))
    for words in ("Key Usage 2.5.29.15 digitalSignature critical", "Server Authentication 1.3.6.1.5.5.7.3.1"):
        assert words in page
    assert "CRL Distribution Points 2.5.29.31 CRL http://" in page


def test_a_sid_is_shown_with_the_account_that_has_it_today(administrator: Browser) -> None:
    from cryptography import x509

    from certwright.console.certificate_contents import contents_of
    from certwright.pki import oids
    from certwright.pki.extensions import sid_extension
    from tests.support.certificates import make_certificate

    known = rooms().directory.principal(People.ENROLLEE)
    assert known is not None
    for sid, said in ((str(known.sid), "in the directory today"), ("S-1-5-21-1-2-3-9999", "nobody in the directory")):
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.NTDS_CA_SECURITY), sid_extension(sid))
        der = make_certificate(extensions=[(value, False)])
        row = contents_of(der, (), "", "/x/")["extensions"][0]
        assert row["sid"] == sid
        assert said in row["account"]


def test_a_template_is_named_as_the_directory_names_it(administrator: Browser) -> None:
    from cryptography import x509

    from certwright.console.certificate_contents import contents_of
    from certwright.pki import oids
    from certwright.pki.extensions import certificate_template
    from tests.support.certificates import make_certificate

    template = rooms().directory_administration.templates()["Workstation"]
    for oid, said in ((template.oid, template.display_name), ("1.2.3.4", "not in this directory")):
        value = certificate_template(oid, 101, 3)
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.CERTIFICATE_TEMPLATE), value)
        lines = contents_of(make_certificate(extensions=[(extension, False)]), (), "", "/x/")["extensions"][0][
            "lines"
        ]
        assert said in lines[0][0]
        assert "major 101, minor 3" in lines[0][0]


@pytest.mark.parametrize(
    ("tab", "said"),
    [
        ("fields/", "Signature algorithm ECDSA with SHA-256"),
        ("revocation/", "Ask now"),
        ("asn1/", "OBJECT IDENTIFIER 2.5.29.15 (Key Usage)"),
        ("pem/", "BEGIN CERTIFICATE"),
    ],
)
def test_every_tab_answers(administrator: Browser, ordered: int, tab: str, said: str) -> None:
    assert said in text_of(administrator.get(f"/inventory/{ordered}/{tab}"))


def test_lint_says_how_to_install_what_is_missing(
    administrator: Browser, ordered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from certwright.pki import linting

    def missing(data: bytes) -> None:
        raise LinterMissing

    monkeypatch.setattr(linting, "lint_certificate", missing)
    page = text_of(administrator.get(f"/inventory/{ordered}/lint/"))
    assert "not installed here" in page
    assert "pip install 'certwright[lint]'" in page


class Asked:
    """Locations that answer what a test says."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Location] = []

    def ask(self, location: Location, view: CertificateView, issuer: CertificateView | None) -> Any:
        self.asked.append(location)
        assert issuer is not None
        return self.answers.pop(0)


def asking(furnished: Rooms, *answers: Any) -> Asked:
    from dataclasses import replace

    made = Asked(*answers)
    furnish(replace(furnished, locations=made))  # type: ignore[arg-type]
    return made


def crl_found(*, signed: bool = True, revoked: bool = False, days: int = 5) -> CrlFound:
    now = rooms().clock()
    entry = CrlEntry(1, now - timedelta(hours=1), CrlReason.KEY_COMPROMISE) if revoked else None
    return CrlFound("http://x/", 900, 1182, False, now - timedelta(days=1), now + timedelta(days=days), entry, signed)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "not on the list"),
        ({"revoked": True}, "keyCompromise"),
        ({"signed": False}, "not signed by the issuer"),
        ({"days": -1}, "out of date"),
    ],
)
def test_a_crl_is_fetched_on_demand_and_its_answer_shown(
    administrator: Browser, ordered: int, furnished: Rooms, found: dict[str, Any], said: str
) -> None:
    places = asking(furnished, crl_found(**found))
    assert administrator.get(f"/inventory/{ordered}/").status_code == 200
    assert places.asked == []
    answer = administrator.post(f"/inventory/{ordered}/location/0/", headers={"HX-Request": "true"})
    assert answer.content.decode().lstrip().startswith('<div class="cw-place" id="place-0">')
    assert said in text_of(answer)
    assert "CRL 1182" in text_of(answer)
    assert [each.kind for each in places.asked] == ["crl"]


def test_without_a_script_the_answer_is_a_page(administrator: Browser, ordered: int, furnished: Rooms) -> None:
    asking(furnished, crl_found())
    assert "<main" in administrator.post(f"/inventory/{ordered}/location/0/").content.decode()


def test_a_location_is_asked_by_its_number_never_by_a_url(administrator: Browser, ordered: int) -> None:
    answer = administrator.post(f"/inventory/{ordered}/location/9/", {"url": "http://169.254.169.254/"})
    assert answer.status_code == 404
    assert administrator.get(f"/inventory/{ordered}/location/0/").status_code == 405


def test_a_location_inside_is_not_asked(administrator: Browser) -> None:
    """Anybody can make a certificate whose CRL lies at the metadata service of a cloud."""
    from cryptography import x509

    from tests.support.certificates import make_certificate

    point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://127.0.0.1:1/x")], None, None, None)
    der = make_certificate(extensions=[(x509.CRLDistributionPoints([point]), False)])
    number = rooms().manager.importing.store([ImportFile("x.cer", der)], actor=ACTOR).added[0]
    answer = text_of(administrator.post(f"/inventory/{number}/location/0/"))
    assert "not public" in answer
    assert "webhook-allow" in answer


def test_crl_and_responder_stand_side_by_side(administrator: Browser, ordered: int, furnished: Rooms) -> None:
    now = rooms().clock()
    ocsp = OcspFound("http://o/", OcspStatus.GOOD, now - timedelta(minutes=1), None, None, "", True)
    asking(furnished, crl_found(), ocsp)
    page = text_of(administrator.post(f"/inventory/{ordered}/revocation/ask/", headers={"HX-Request": "true"}))
    assert "not on the list" in page
    assert "The certificate names none." in page  # this CA has no responder yet


def test_the_chain_is_verified_and_says_what_is_wrong(administrator: Browser, ordered: int) -> None:
    page = text_of(administrator.get(f"/inventory/{ordered}/"))
    assert "Chain Valid" in page
    assert page.index("CORP Root CA") < page.index("CORP Issuing CA P-256")
    expired = text_of(administrator.get(f"/inventory/{imported('old.corp.example', -3)}/"))
    assert "Not valid" in expired
    alone = text_of(administrator.get(f"/inventory/{imported('alone.corp.example')}/"))
    assert "is not in the inventory" in alone


def test_the_next_order_and_its_rule_are_shown(administrator: Browser, ordered: int) -> None:
    assert "no rule matches" in text_of(administrator.get(f"/inventory/{ordered}/"))
    rooms().manager.renewal.add(RuleFields("web ones", 14, match_template="WebServer"), actor=ACTOR)
    page = text_of(administrator.get(f"/inventory/{ordered}/"))
    assert "14 d before expiry" in page
    assert "web ones" in page


def test_somebody_elses_certificate_is_as_if_it_were_not_there(
    sign_in: Callable[..., Browser], local: Callable[..., str], ordered: int
) -> None:
    rita = sign_in(local("rita", Role.REQUESTER))
    for path in ("", "fields/", "revocation/", "lint/", "asn1/", "pem/"):
        assert rita.get(f"/inventory/{ordered}/{path}").status_code == 404, path
    for path in ("location/0/", "revocation/ask/"):
        assert rita.post(f"/inventory/{ordered}/{path}").status_code == 404, path


# -- the list --------------------------------------------------------------------------------------------------------


def test_a_week_of_the_timeline_is_a_view(administrator: Browser) -> None:
    imported("soon.corp.example", 3)
    imported("later.corp.example", 10)
    page = text_of(administrator.get("/inventory/?week=1"))
    assert "later.corp.example" in page
    assert "soon.corp.example" not in page
    assert "Week:" in page
    assert administrator.get("/inventory/?week=99").status_code == 200


def test_what_is_old_is_hidden_by_a_chip_that_can_be_taken_away(administrator: Browser) -> None:
    imported("ancient.corp.example", -60)
    assert "superseded and expired over 30 days" in text_of(administrator.get("/inventory/"))
    assert "ancient.corp.example" not in text_of(administrator.part("/inventory/"))
    assert "ancient.corp.example" in text_of(administrator.part("/inventory/?old=all"))


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("names:contains:orp.exa", True),
        ("names:contains:elsewhere", False),
        ("common_name:is:WEB.corp.example", True),
        ("serial:contains:zz", False),
        ("not_after:after:2020-01-31", True),
        ("not_after:before:2020-01-31", False),
        ("tag:is:prod", True),
    ],
)
def test_any_column_can_be_filtered(administrator: Browser, condition: str, found: bool) -> None:
    imported("web.corp.example", tag="prod")
    page = text_of(administrator.part(f"/inventory/?f={condition}"))
    assert ("web.corp.example" in page) is found, page


def test_nothing_yet_and_nothing_matches_are_told_apart(administrator: Browser) -> None:
    assert "No certificate yet" in text_of(administrator.get("/inventory/"))
    imported("web.corp.example")
    assert "No certificate matches" in text_of(administrator.get("/inventory/?q=elsewhere"))


# -- acts on many ----------------------------------------------------------------------------------------------------


def picks(*numbers: int) -> dict[str, Any]:
    return {"pick": [str(number) for number in numbers]}


def test_many_are_labelled_in_one_act(administrator: Browser) -> None:
    numbers = [imported(f"web{each}.corp.example") for each in range(3)]
    dialog = administrator.part("/inventory/bulk/tag/?" + "&".join(f"pick={each}" for each in numbers))
    assert "Tag 3 certificates" in text_of(dialog)
    inventory = rooms().manager.inventory
    assert administrator.post("/inventory/bulk/tag/", picks(*numbers) | {"value": "a, b"}).status_code == 302
    assert administrator.post("/inventory/bulk/owner/", picks(*numbers) | {"value": "Web"}).status_code == 302
    assert administrator.post("/inventory/bulk/managed/", picks(*numbers) | {"value": "no"}).status_code == 302
    assert administrator.post("/inventory/bulk/untag/", picks(*numbers) | {"value": "a"}).status_code == 302
    assert {(row.owner, row.managed, row.tags) for row in inventory.rows(numbers)} == {("Web", False, ("b",))}


def test_all_that_match_are_chosen_by_the_filters(administrator: Browser) -> None:
    for each in range(3):
        imported(f"web{each}.corp.example", tag="prod")
    imported("mail.corp.example")
    dialog = administrator.part("/inventory/bulk/owner/?all=1&tag=prod&pick=1").content.decode()
    assert len(re.findall(r'name="pick" value="\d+"', dialog)) == 3
    assert "mail.corp.example" not in dialog


def test_many_are_renewed_and_the_refused_ones_named(administrator: Browser, ordered: int) -> None:
    other = ordered_here("web8")
    stranger = imported("stranger.corp.example")
    answer = administrator.post("/inventory/bulk/renew/", picks(ordered, other, stranger) | {"key": "new"})
    assert "2 ordered, 1 refused" in text_of(answer)
    assert "was not ordered here" in text_of(answer)
    assert len(rooms().manager.orders.list().rows) == 4
    too_many = administrator.post(
        "/inventory/bulk/renew/", picks(*[imported(f"h{n}.corp.example") for n in range(26)])
    )
    assert too_many.status_code == 422
    assert "a renewal rule does more" in text_of(too_many)


def test_many_are_revoked_only_when_their_number_is_typed(
    administrator: Browser, ordered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    reach = rooms().manager.services.reach
    monkeypatch.setattr(reach, "_own", replace(reach._own, officer=People.OFFICER))
    other = ordered_here("web8")
    data = picks(ordered, other) | {"reason": "superseded"}
    assert administrator.post("/inventory/bulk/revoke/", data | {"count": "1"}).status_code == 422
    revoked = administrator.post("/inventory/bulk/revoke/", data | {"count": "2"})
    assert revoked.status_code == 302, text_of(revoked)
    assert all(row.revoked is not None for row in rooms().manager.inventory.rows([ordered, other]))
    again = administrator.post("/inventory/bulk/revoke/", data | {"count": "2"})
    assert "0 revoked, 2 refused" in text_of(again)


def test_without_an_officer_nothing_is_revoked_and_it_is_said_where_to_name_one(
    administrator: Browser, ordered: int
) -> None:
    data = picks(ordered) | {"reason": "superseded", "count": "1"}
    answer = text_of(administrator.post("/inventory/bulk/revoke/", data))
    assert "0 revoked, 1 refused" in answer
    assert "under [manager] in certwright.toml" in answer
    assert rooms().manager.inventory.rows([ordered])[0].revoked is None


def test_many_are_deleted_and_keys_only_when_their_number_is_typed(administrator: Browser, ordered: int) -> None:
    plain = imported("web.corp.example")
    assert "1 private key exists only here" in text_of(
        administrator.part(f"/inventory/bulk/delete/?pick={ordered}&pick={plain}")
    )
    assert administrator.post("/inventory/bulk/delete/", picks(ordered, plain) | {"count": "1"}).status_code == 422
    assert len(rooms().manager.inventory.rows([ordered, plain])) == 2
    assert administrator.post("/inventory/bulk/delete/", picks(ordered, plain) | {"count": "2"}).status_code == 302
    assert rooms().manager.inventory.rows([ordered, plain]) == ()
    assert administrator.post("/inventory/bulk/delete/", picks(imported("x.corp.example"))).status_code == 302


def test_what_is_ticked_is_downloaded(administrator: Browser) -> None:
    first, second, third = (imported(f"web{each}.corp.example") for each in range(3))
    led = administrator.part(f"/inventory/bulk/files/zip/?pick={first}&pick={second}")
    assert led["HX-Redirect"] == f"/inventory/export/zip/?pick={first}&pick={second}"
    archive = zipfile.ZipFile(io.BytesIO(administrator.get(led["HX-Redirect"]).getvalue()))
    assert len(archive.namelist()) == 2
    csv = administrator.get(f"/inventory/export/csv/?pick={third}").getvalue()
    assert csv.count(b"corp.example") >= 1
    assert b"web0" not in csv
    everything = administrator.part(f"/inventory/bulk/files/csv/?all=1&tag=&pick={first}")
    assert everything["HX-Redirect"].startswith("/inventory/export/csv/")
    assert "pick" not in everything["HX-Redirect"]


def test_a_requester_acts_on_their_own_only(
    sign_in: Callable[..., Browser], local: Callable[..., str], administrator: Browser
) -> None:
    name = local("rita", Role.REQUESTER)
    rita = sign_in(name)
    own, theirs = imported("own.corp.example", owner=f"CONSOLE\\{name}"), imported("theirs.corp.example", owner=ACTOR)
    assert rita.post("/inventory/bulk/tag/", picks(own, theirs) | {"value": "mine"}).status_code == 302
    rows = rooms().manager.inventory.rows([own, theirs])
    assert [row.tags for row in rows] == [("mine",), ()]
    assert rita.post("/inventory/bulk/delete/", picks(theirs)).status_code == 422
    assert rita.post("/inventory/bulk/revoke/", picks(own)).status_code == 403
    exported = rita.get(f"/inventory/export/csv/?pick={own}&pick={theirs}").getvalue()
    assert b"own.corp.example" in exported
    assert b"theirs.corp.example" not in exported


def test_who_only_reads_cannot_act_on_many(sign_in: Callable[..., Browser], ordered: int) -> None:
    """An auditor is a requester too, as the CA lets them enroll; what is somebody else's stays as it is."""
    auditor = sign_in(People.AUDITOR)
    for act in ("tag", "untag", "owner", "managed", "renew", "delete"):
        answer = auditor.post(f"/inventory/bulk/{act}/", picks(ordered) | {"value": "x", "key": "new", "count": "0"})
        assert answer.status_code in (302, 403, 422), act
    row = rooms().manager.inventory.rows([ordered])[0]
    assert (row.owner, row.tags, row.renewal) == (ACTOR, (), "")
    assert auditor.post("/inventory/bulk/revoke/", picks(ordered)).status_code == 403


def test_files_are_shown_one_by_one_before_anything_is_stored(administrator: Browser) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    good = certificate("web.corp.example", now=rooms().clock())

    def sent(**more: str) -> Any:
        files = [SimpleUploadedFile("web.cer", good), SimpleUploadedFile("notes.txt", b"no certificate")]
        return administrator.post("/inventory/import/", {"uploads": files, **more}, headers={"HX-Request": "true"})

    looked = text_of(sent(look="1"))
    assert "nothing is stored yet" in looked
    assert "1 new" in looked
    assert "1 file with a problem" in looked
    assert rooms().manager.inventory.ids(InventoryQuery()) == []
    assert "1 certificate is new" in text_of(sent())
    assert "1 known already" in text_of(sent(look="1"))
    nothing = administrator.post("/inventory/import/", {"look": "1"})
    assert nothing.status_code == 422
    assert "Choose files or a folder" in text_of(nothing)


# -- the dashboard ---------------------------------------------------------------------------------------------------


def chart(page: Any, name: str) -> dict[str, Any]:
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', page.content.decode())
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_timeline_has_26_bars_that_lead_to_their_weeks(administrator: Browser) -> None:
    for days in (3, 10, 12, 60, 120):
        imported(f"d{days}.corp.example", days)
    data = chart(administrator.get("/?all"), "expiry-timeline-data")
    assert [len(data[each]) for each in ("labels", "values", "bands", "links")] == [26] * 4
    assert data["values"][:2] == [1, 2]
    assert (data["bands"][0], data["bands"][1], data["bands"][5], data["bands"][20]) == (
        "red",
        "orange",
        "yellow",
        "gray",
    )
    assert data["links"][1] == "/inventory/?week=1"
    assert "d10.corp.example" in text_of(administrator.get(data["links"][1]))


def test_the_cards_say_what_the_ca_and_the_services_do(administrator: Browser, ordered: int) -> None:
    page = administrator.get("/?all")
    text = text_of(page)
    for words in ("Issued per template", "Queue age", "AD CS services", "Pending Requests", "Failed, last 24 h"):
        assert words in text
    assert "Web Server" in chart(page, "issued-data")["labels"]
    assert "Answers" in text


def test_a_requester_sees_only_their_own_on_the_dashboard(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    name = local("rita", Role.REQUESTER)
    imported("own.corp.example", 3, owner=f"CONSOLE\\{name}")
    imported("theirs.corp.example", 3, owner=ACTOR)
    page = sign_in(name).get("/?all")
    assert chart(page, "expiry-timeline-data")["values"][0] == 1
    for words in ("AD CS services", "Queue age", "Issued per template", "Failed, last 24 h"):
        assert words not in text_of(page)
