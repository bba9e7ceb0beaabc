"""X.500 names: DER and strings, both ways; bounds; sanitized names. RFC 4514, [MS-WCCE] 3.1.1.4.1.1."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import der, names, oids
from certwright.pki.errors import EncodingError, TooLarge
from tests.support import requests

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)


def rdn(*pairs: tuple[str, bytes]) -> bytes:
    """A RelativeDistinguishedName in the order given, sorted or not."""
    return requests.tlv(0x31, *(requests.sequence(requests.oid(kind), value) for kind, value in pairs))


# -- both ways -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "CN=web.corp.example,O=Corp,C=DE",
        "CN=Alice Example,OU=Sales,OU=Users,DC=corp,DC=example",
        r"CN=Before\0DAfter,DC=example",
        r"O=Sue\, Grabbit and Runn,C=GB",
        "UID=jsmith,DC=example,DC=net",
        r"CN=James \"Jim\" Smith\, III,DC=example",
        "OU=Sales+CN=J.  Smith,DC=example",
        r"CN=\ leading and trailing\ ",
        r"CN=\#not hex",
        r"CN=a\=b\+c\;d\<e\>f\\g",
        "1.3.6.1.4.1.1466.0=#04024869",
        "SERIALNUMBER=12345,CN=Lučić",
        "E=alice@corp.example,CN=Alice",
    ],
)
def test_a_name_string_reads_back_to_itself(text: str) -> None:
    """RFC 4514 4, among others its own examples."""
    assert names.format_name(names.parse_dn(text)) == text


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("cn=a, o = b", "CN=a,O=b"),
        ('O="Corp, Inc.",C=DE', r"O=Corp\, Inc.,C=DE"),
        (r'CN="a \"quoted\" word"', r"CN=a \"quoted\" word"),
        ("CN=a;O=b", "CN=a,O=b"),
        ("OID.2.5.4.3=a", "CN=a"),
        ("2.5.4.3=a", "CN=a"),
        ("S=Bavaria", "ST=Bavaria"),
        ("EMAIL=a@b,GN=A,SN=B", "E=a@b,G=A,SN=B"),
        ("CN=#0C0161", "CN=a"),
        (r"CN=Lu\C4\8Di\C4\87", "CN=Lučić"),
        ("CN=a \n", "CN=a"),
        ("CN=a,\r\n  O=b", "CN=a,O=b"),
        ("  ", ""),
    ],
)
def test_other_spellings_mean_the_same_name(text: str, same: str) -> None:
    assert names.parse_dn(text) == names.parse_dn(same)
    assert names.format_name(names.parse_dn(text)) == same


@pytest.mark.parametrize(
    "text",
    [
        "CN",
        "CN=a,",
        "CN=a,,O=b",
        "NOPE=a",
        "CN=a<b",
        'CN="open',
        'CN="a"b',
        "CN=a\\",
        "CN=#0",
        "CN=#zz",
        "CN=#",
        "CN=#0C05616263",
        r"CN=\ff",
        "C=Österreich",
        r"CN=a\00b",
        "CN=#0C03610062",
        "1.2." + "9" * 5000 + "=a",
        "CN=" + "a" * 9000,
        "CN=\ud800",
    ],
)
def test_a_string_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(EncodingError):
        names.parse_dn(text)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([oids.COMMON_NAME, oids.ORGANIZATION]), TEXT), min_size=1, max_size=2),
        max_size=4,
    )
)
def test_any_text_survives_the_string_form(pairs: list[list[tuple[str, str]]]) -> None:
    name = names.encode_name([names.NameAttribute.of(*pair) for pair in component] for component in pairs)
    assert names.parse_dn(names.format_name(name)) == name


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_string_is_read_or_refused_as_an_encoding_error(text: str) -> None:
    try:
        name = names.parse_dn(text)
    except EncodingError:
        return
    assert names.parse_dn(names.format_name(name)) == name


def test_the_order_of_a_string_is_the_reverse_of_its_der() -> None:
    name = names.name_of((oids.COUNTRY, "DE"), (oids.ORGANIZATION, "Corp"), (oids.COMMON_NAME, "web"))
    assert names.format_name(name) == "CN=web,O=Corp,C=DE"
    assert name == requests.name(("C", "DE"), ("O", "Corp"), ("CN", "web"))


def test_the_other_library_writes_the_same_string() -> None:
    text = r"CN=web \+ more,OU=a\, b,DC=corp,DC=example"
    certificate_name = x509.Name.from_rfc4514_string(text)
    assert names.format_name(certificate_name.public_bytes()) == text
    assert certificate_name == x509.Name.from_rfc4514_string(names.format_name(names.parse_dn(text)))


# -- reading DER -----------------------------------------------------------------------------------------------------


def test_a_name_keeps_its_string_types() -> None:
    name = requests.sequence(rdn(("2.5.4.3", requests.bmp("Zoë"))))
    assert names.encode_name(names.parse_name(name)) == name
    assert names.common_name(name) == "Zoë"


def test_the_last_common_name_is_the_one_that_counts() -> None:
    assert names.common_name(requests.name(("CN", "Users"), ("CN", "alice"))) == "alice"
    assert names.common_name(names.EMPTY) == ""
    assert names.values(requests.name(("OU", "a"), ("OU", "b")), oids.ORGANIZATIONAL_UNIT) == ("a", "b")


@pytest.mark.parametrize(
    "name",
    [
        requests.sequence(requests.tlv(0x31)),  # a component without attributes
        requests.sequence(requests.sequence()),  # no SET
        requests.sequence(rdn(("2.5.4.3", requests.utf8("a\0b")))),
        requests.sequence(rdn(("2.5.4.3", requests.tlv(0x0C, b"\xff")))),
        requests.sequence(requests.tlv(0x31, requests.sequence(requests.oid("2.5.4.3")))),
        requests.sequence(requests.tlv(0x31, requests.sequence(requests.oid("2.5.4.3"), *[requests.utf8("a")] * 2))),
        requests.name(("CN", "a")) + b"\0",
        b"\x31\x00",
        b"",
    ],
)
def test_der_that_is_no_name_is_refused(name: bytes) -> None:
    with pytest.raises(EncodingError):
        names.parse_name(name)


def test_a_name_with_endless_components_or_attributes_is_refused() -> None:
    with pytest.raises(TooLarge):
        names.parse_name(requests.name(*[("CN", "a")] * (names.MAX_RDNS + 1)))
    with pytest.raises(TooLarge):
        names.parse_name(requests.sequence(rdn(*[("2.5.4.3", requests.utf8("a"))] * (names.MAX_ATTRIBUTES + 1))))


def test_a_long_name_of_a_stranger_is_not_kept_in_memory() -> None:
    before = names._parse_remembered.cache_info().currsize
    names.parse_name(requests.name(("CN", "x" * 2000)))
    assert names._parse_remembered.cache_info().currsize == before


def test_a_value_that_is_no_string_shows_as_hex() -> None:
    name = requests.sequence(rdn(("2.5.4.3", requests.integer(5))))
    assert names.format_name(name) == "CN=#020105"
    assert names.values(name, oids.COMMON_NAME) == ("#020105",)


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_arbitrary_bytes_raise_only_encoding_errors(data: bytes) -> None:
    for candidate in (data, der.sequence(data), der.sequence(der.tlv(der.SET, der.sequence(data)))):
        try:
            names.format_name(candidate)
        except EncodingError:
            continue


# -- names that a certificate may carry ------------------------------------------------------------------------------


def loads(name: bytes) -> x509.Name:
    """The other, strict library's reading of a Name inside a certificate."""
    from datetime import UTC, datetime

    from certwright.pki import certificate, signatures

    key, scheme, when = requests.ec_key(), signatures.ECDSA_SHA256, datetime(2025, 1, 1, tzinfo=UTC)
    tbs = certificate.assemble_tbs(1, scheme.algorithm, name, when, when, name, requests.spki(key), b"")
    made = certificate.assemble_signed(tbs, scheme.algorithm, scheme.sign(key, tbs))
    return x509.load_der_x509_certificate(made).subject


def test_a_right_name_stays_the_same_bytes() -> None:
    name = requests.name(("C", "DE"), ("O", "Zoë GmbH"), ("DC", "corp"), ("E", "a@b.example"), ("CN", "web"))
    assert names.certifiable_name(name) is name


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("2.5.4.3", requests.printable("*.corp.example"), requests.utf8("*.corp.example")),
        ("2.5.4.3", requests.tlv(0x13, b"a@b"), requests.utf8("a@b")),
        ("2.5.4.3", requests.bmp("Zoë"), requests.utf8("Zoë")),
        ("2.5.4.10", requests.tlv(0x14, b"Zo\xeb"), requests.utf8("Zoë")),
        ("2.5.4.10", requests.tlv(0x1C, "Zoë".encode("utf-32-be")), requests.utf8("Zoë")),
        ("2.5.4.3", requests.ia5("a"), requests.utf8("a")),
        ("2.5.4.6", requests.utf8("DE"), requests.printable("DE")),
        ("2.5.4.5", requests.utf8("a_1"), requests.utf8("a_1")),
        ("0.9.2342.19200300.100.1.25", requests.printable("corp"), requests.ia5("corp")),
        ("0.9.2342.19200300.100.1.25", requests.utf8("corp"), requests.ia5("corp")),
    ],
)
def test_a_value_in_a_wrong_string_type_is_written_again(attribute: str, value: bytes, expected: bytes) -> None:
    """RFC 5280 4.1.2.4: PrintableString or UTF8String; clients send others, and certificates must not carry them."""
    clean = names.certifiable_name(requests.sequence(rdn((attribute, value))))
    assert clean == requests.sequence(rdn((attribute, expected)))
    assert len(loads(clean)) == 1


def test_the_attributes_of_a_component_are_sorted() -> None:
    """X.690 11.6; OpenSSL sorts them, not every client does."""
    pairs = (("2.5.4.10", requests.utf8("A long organization")), ("2.5.4.3", requests.utf8("a")))
    clean = names.certifiable_name(requests.sequence(rdn(*pairs)))
    assert clean == requests.sequence(rdn(*reversed(pairs)))
    assert loads(clean).rfc4514_string() == "CN=a+O=A long organization"


@pytest.mark.parametrize(
    "component",
    [
        rdn(("2.5.4.3", requests.integer(5))),
        rdn(("2.5.4.3", requests.utf8("a")), ("2.5.4.3", requests.utf8("b"))),
        rdn(("2.5.4.3", requests.utf8("a")), ("2.5.4.3", requests.utf8("a"))),
    ],
)
def test_a_name_no_certificate_may_carry_is_refused(component: bytes) -> None:
    with pytest.raises(EncodingError):
        names.certifiable_name(requests.sequence(component))


# -- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("CN", "a" * 64)], None),
        ([("CN", "a" * 65)], "CN has 65 characters, 64 are allowed"),
        ([("CN", "ä" * 64)], None),  # characters, not bytes
        ([("O", "x"), ("CN", "")], "CN is empty"),
        ([("C", "DEU")], "C has 3 characters, 2 are allowed"),
        ([("C", "D")], "C has 1 characters, 2 are allowed"),
        ([("DC", "a" * 64)], "DC has 64 characters, 63 are allowed"),
        ([], None),
    ],
)
def test_a_name_outside_the_upper_bounds_is_found(pairs: list[tuple[str, str]], message: str | None) -> None:
    """RFC 5280 appendix A.1."""
    broken = names.broken_upper_bound(requests.name(*pairs))
    assert (None if broken is None else str(broken)) == message


# -- sanitized names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sanitized"),
    [
        ("Corp Issuing CA 1", "Corp Issuing CA 1"),
        ("'\"@abc", "!0027!0022@abc"),
        ("A/B\\C:D*E?F", "A!002fB!005cC!003aD!002aE!003fF"),
        ("Zoë", "Zo!00eb"),
        ("\U0001f600", "!d83d!de00"),
        ("a\x1f\x7fb", "a!001f!007fb"),
        ("$-._~@", "$-._~@"),
        ("!\"#%&'()*+,/:;<=>?[\\]^`{|}", "".join(f"!{ord(c):04x}" for c in "!\"#%&'()*+,/:;<=>?[\\]^`{|}")),
    ],
)
def test_unsafe_characters_become_their_utf16_unit(name: str, sanitized: str) -> None:
    """[MS-WCCE] 3.1.1.4.1.1.2."""
    assert names.sanitized_name(name) == sanitized


def test_a_short_name_is_the_name_while_it_fits() -> None:
    assert names.sanitized_short_name("x" * 51) == "x" * 51


def test_a_longer_name_is_cut_and_carries_the_hash_of_what_was_cut() -> None:
    """[MS-WCCE] 3.1.1.4.1.1.1: h = rotl1(h) + ch in 16 bits, over the removed characters."""
    # 'a' = 0x61: 0x61; rotl1 = 0xc2, + 'b' 0x62 = 0x124
    assert names.sanitized_short_name("x" * 51 + "ab") == "x" * 51 + f"-{0x124:05d}"
    digest = 0
    for char in "tail" * 40:
        digest = (((digest << 1) & 0xFFFF) | (digest >> 15)) + ord(char)
        digest &= 0xFFFF
    assert names.sanitized_short_name("y" * 51 + "tail" * 40) == "y" * 51 + f"-{digest:05d}"


@pytest.mark.parametrize("before", [46, 47, 48, 49, 50, 51])
def test_an_escape_is_never_cut_in_two(before: int) -> None:
    short = names.sanitized_short_name("x" * before + "ë" + "y" * 20)
    head, _, digest = short.rpartition("-")
    assert head == "x" * before + ("!00eb" if before + 5 <= 51 else "") + "y" * max(0, 51 - before - 5)
    assert len(digest) == 5
    assert digest.isdigit()
