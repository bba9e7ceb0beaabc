"""Where CRLs of CAs elsewhere are copied from: settings as values, files and locations."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.connectors.fetching import Found, LocationError, Question, Validators
from certwright.online_responder.lists import MAX_LIST, Scope
from certwright.online_responder.sources import SOURCE_SETTINGS, ListSources, copy, demand_name, known
from certwright.pki import armor
from tests.support.foreign_ca import ForeignCa

URL = "http://pki.corp.example/CertEnroll/CA+.crl"


def nobody(question: Question, _known: Validators) -> Found:
    raise AssertionError(question)


def test_nothing_is_copied_until_something_is_set() -> None:
    sources = ListSources.load()

    assert (sources.crl_urls, sources.delta_crl_urls, sources.scopes) == ((), (), frozenset())
    assert sources.refresh == timedelta(hours=1)
    assert sources.as_settings() == {}
    assert not sources.names_files


def test_what_is_set_survives_storing() -> None:
    sources = ListSources.load().changed(
        {"crl-urls": f"{URL}  file:///a/b.crl {URL}", "scopes": "named,ca-only", "issued-serials": "/issued"}
    )

    again = ListSources.load(sources.as_settings())

    assert again == sources
    assert again.crl_urls == (URL, "file:///a/b.crl")
    assert again.scopes == {Scope.NAMED, Scope.CA_ONLY}
    assert again.names_files


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crl-urls", "ftp://x/y"),
        ("crl-urls", "http:///nowhere"),
        ("crl-urls", "http://[x/y"),
        ("crl-urls", "relative.crl"),
        ("crl-urls", "file://server/share/x.crl"),
        ("crl-urls", " ".join(f"http://x/{number}" for number in range(9))),
        ("crl-urls", "http://x/" + "y" * 3000),
        ("refresh-minutes", "0"),
        ("scopes", "everything"),
        ("issued-serials", "relative"),
        ("nonsense", "x"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(key: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=key):
        ListSources.load().changed({key: value})


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    assert known("nonce").key == "nonce"
    assert known("crl-urls") is SOURCE_SETTINGS["crl-urls"]
    with pytest.raises(InvalidArgument, match="did you mean delta-crl-urls"):
        known("delta-crl-url")


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a\\b", "a\nb", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        demand_name(name)


def test_a_file_is_read_in_der_and_in_pem(tmp_path: Path) -> None:
    crl, file = ForeignCa().crl(), tmp_path / "a list.crl"
    for content in (crl, armor.armor("X509 CRL", crl).encode()):
        file.write_bytes(content)
        assert copy(file.as_uri(), nobody) == Found(crl)


def test_a_file_that_is_none_says_why(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="cannot be read"):
        copy((tmp_path / "gone").as_uri(), nobody)
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00nothing")
    with pytest.raises(LocationError, match="no CRL"):
        copy((tmp_path / "x").as_uri(), nobody)


def test_other_locations_are_asked_with_a_bound_and_patience() -> None:
    crl, asked = ForeignCa().crl(), []

    def ask(question: Question, known: Validators) -> Found:
        asked.append(question)
        return Found(b"", known, is_same=True) if known else Found(crl, Validators('"5"'))

    assert copy(URL, ask) == Found(crl, Validators('"5"'))
    assert copy(URL, ask, Validators('"5"')).is_same
    assert [(each.url, each.limit) for each in asked] == [(URL, MAX_LIST)] * 2
    assert asked[0].patience > 30
