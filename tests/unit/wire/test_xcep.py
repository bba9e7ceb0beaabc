"""GetPolicies and its answer: the schema's order, nil instead of nothing, references that lead somewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import BadRequest
from certwright.pki import der, oids
from certwright.wire import soap, xcep
from certwright.wire.soap import Fault, Message
from certwright.wire.xcep import (
    Ca,
    CaUri,
    ClientAuthentication,
    GetPolicies,
    Oid,
    OidGroup,
    Policy,
    PolicyExtension,
    PolicyResponse,
)
from tests.support import envelopes

LIMIT = 1 << 22


def body_of(encoded: str) -> xcep.Element:
    return Message.parse(soap.envelope("urn:act", encoded), LIMIT, xcep.MAX_RESPONSE_ELEMENTS).body


def asked(name: str) -> GetPolicies:
    return GetPolicies.parse(Message.parse(envelopes.example(name), LIMIT).body)


TEMPLATE = Oid("1.3.6.1.4.1.311.21.8.1.2", OidGroup.TEMPLATE, "Web <Server> & co")
INFORMATION = Oid(oids.CERTIFICATE_TEMPLATE, OidGroup.EXTENSION, "Certificate Template Information")
AGENT = Oid(oids.EKU_ENROLLMENT_AGENT, OidGroup.EXTENDED_KEY_USAGE, "Certificate Request Agent")
AES = Oid("2.16.840.1.101.3.4.1.42", OidGroup.ENCRYPTION, "AES")

POLICY = Policy(
    oid=TEMPLATE,
    common_name="WebServer",
    schema=4,
    validity_seconds=31_536_000,
    renewal_seconds=3_628_800,
    enroll=True,
    auto_enroll=False,
    minimal_key_length=2048,
    major_revision=100,
    minor_revision=3,
    cas=(0,),
    extensions=(PolicyExtension(INFORMATION, False, der.sequence(der.oid(TEMPLATE.value))),),
)
FULL = replace(
    POLICY,
    key_spec=1,
    key_usage=2,
    key_permissions="D:P(A;;GA;;;SY)",
    algorithm=Oid("1.2.840.10045.3.1.7", OidGroup.PUBLIC_KEY, "ECDSA_P256"),
    providers=("Microsoft Software Key Storage Provider", 'A "B" <C>'),
    superseded=("Old", "Older"),
    private_key_flags=0xFFFF_FFFF,
    subject_name_flags=0x8000_0000,
    enrollment_flags=0,
    general_flags=131_136,
    hash_algorithm=Oid(oids.SHA256, OidGroup.HASH, "sha256"),
    ra_signatures=2,
    ra_usages=(AGENT,),
    ra_policies=(Oid("1.2.3", OidGroup.POLICY, "High"),),
    archival=(AES, 256),
)
CA = Ca(
    der.sequence(der.integer(1)),
    (
        CaUri(ClientAuthentication.KERBEROS, "https://ca/CA%201_CES_Kerberos/service.svc/CES?a=1&b", 1, False),
        CaUri(ClientAuthentication.CERTIFICATE, "https://ca/CA%201_CES_Certificate/service.svc/CES", 2, True),
    ),
    True,
)
RESPONSE = PolicyResponse("{5A3C1E70-8B1D-4F0E-9C55-0D3B6F1A2C44}", "Corp", 8, (POLICY, FULL), (CA,))


# -- requests --------------------------------------------------------------------------------------------------------


def test_what_windows_asks_first() -> None:
    """Year 1 is older than everything; no filter."""
    assert asked("xcep-01-getpolicies-request-usernametoken") == GetPolicies()


def test_zero_and_nil_filter_nothing() -> None:
    """cepces 0.3.17 sends 0 where 0.3.16 sent nil; both want everything."""
    for name in ("cepces-01-getpolicies-v0.3.17", "cepces-02-getpolicies-v0.3.16-kerberos"):
        assert (asked(name).client_version, asked(name).server_version, asked(name).oids) == (None, None, None)


def test_filters_are_read() -> None:
    filtered = asked("xcep-03-getpolicies-request-filter")
    assert filtered.oids
    assert all(oid.startswith("1.3.6.1.4.1.311.21.8.") for oid in filtered.oids)
    assert asked("xcep-04-getpolicies-request-lastupdate").last_update is not None


@pytest.mark.parametrize(
    "request_",
    [
        GetPolicies(),
        GetPolicies(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "tr-TR"),
        GetPolicies(oids=frozenset({"1.2.3", "1.2.4"})),
        GetPolicies(client_version=5, server_version=6),
    ],
)
def test_our_requests_follow_the_schema_and_come_back(request_: GetPolicies) -> None:
    encoded = request_.encode()
    envelopes.validate(soap.envelope(xcep.GET_POLICIES, encoded))
    assert GetPolicies.parse(body_of(encoded)) == request_


@pytest.mark.parametrize(
    "body",
    [
        f'<Other xmlns="{xcep.NAMESPACE}"/>',
        '<GetPolicies xmlns="urn:other"/>',
        f'<GetPolicies xmlns="{xcep.NAMESPACE}"/>',
        f'<GetPolicies xmlns="{xcep.NAMESPACE}"><client/></GetPolicies>',
        f'<GetPolicies xmlns="{xcep.NAMESPACE}"><client xsi:nil="true"/></GetPolicies>',
        GetPolicies(client_version=5).encode().replace(">5<", ">five<"),
        GetPolicies().encode().replace("<requestFilter", "<requestFilter/><requestFilter"),
    ],
)
def test_a_body_that_is_not_the_operations_is_a_fault(body: str) -> None:
    """[MS-XCEP] 3.1.4.1.2.1."""
    with pytest.raises(Fault) as found:
        GetPolicies.parse(body_of(body))
    assert found.value.subcode == "d:DeserializationFailed"


@pytest.mark.parametrize(("sent", "read"), [(-1, None), (0, None), (3, 3), (15, 15), (99, 15)])
def test_versions_are_four_bits(sent: int, read: int | None) -> None:
    body = GetPolicies(client_version=1).encode().replace("<clientVersion>1<", f"<clientVersion>{sent}<")
    assert GetPolicies.parse(body_of(body)).client_version == read


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 40])
def test_answers_follow_the_schema(count: int) -> None:
    policies = tuple(replace(FULL if number % 2 else POLICY, common_name=f"T{number}") for number in range(count))
    response = replace(RESPONSE, policies=policies)

    encoded = response.encode()

    envelopes.validate(soap.envelope(xcep.GET_POLICIES_RESPONSE, encoded))
    assert PolicyResponse.parse(body_of(encoded)) == response


@pytest.mark.parametrize(
    "response",
    [
        replace(RESPONSE, policies=(), cas=()),
        replace(RESPONSE, policies=(replace(POLICY, cas=()),), cas=()),
        PolicyResponse(RESPONSE.policy_id, "", 8, not_changed=True),
    ],
    ids=["nothing", "no CA", "not changed"],
)
def test_what_is_not_there_is_nil(response: PolicyResponse) -> None:
    """Empty collections are illegal. [MS-XCEP] 3.1.4.1.3."""
    encoded = response.encode()
    envelopes.validate(soap.envelope(xcep.GET_POLICIES_RESPONSE, encoded))
    assert 'xsi:nil="true"' in encoded
    assert PolicyResponse.parse(body_of(encoded)) == response


@pytest.mark.parametrize(
    "name",
    [
        "xcep-05-getpolicies-response-full",
        "xcep-06-getpolicies-response-notchanged",
        "xcep-07-getpolicies-response-empty",
    ],
)
def test_the_examples_are_read_and_written_again(name: str) -> None:
    response = PolicyResponse.parse(Message.parse(envelopes.example(name), LIMIT).body)
    envelopes.validate(soap.envelope(xcep.GET_POLICIES_RESPONSE, response.encode()))
    assert PolicyResponse.parse(body_of(response.encode())) == response


def test_the_full_example_says_what_it_says() -> None:
    response = PolicyResponse.parse(Message.parse(envelopes.example("xcep-05-getpolicies-response-full"), LIMIT).body)
    machine, web = response.policies
    assert (machine.common_name, machine.schema, machine.key_spec, machine.hash_algorithm) == ("Machine", 1, 1, None)
    assert machine.providers == ("Microsoft RSA SChannel Cryptographic Provider",)
    assert web.superseded == ("WebServer",)
    assert web.algorithm is not None
    assert (web.algorithm.group, web.algorithm.name) == (OidGroup.PUBLIC_KEY, "ECDSA_P256")
    assert web.extensions[0].oid.value == oids.CERTIFICATE_TEMPLATE
    assert [uri.authentication.value for uri in response.cas[0].uris] == [2, 4, 8]
    assert [uri.renewal_only for uri in response.cas[0].uris] == [False, False, True]


def test_an_oid_has_one_number_in_an_answer() -> None:
    encoded = replace(RESPONSE, policies=(POLICY, POLICY, FULL)).encode()
    assert encoded.count(f"<value>{TEMPLATE.value}</value>") == 1
    assert encoded.count(f"<value>{INFORMATION.value}</value>") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<policyOIDReference>", "<policyOIDReference>99"),
        ("<cAReference>0<", "<cAReference>7<"),
        ("<group>9</group>", "<group>11</group>"),
        ("<policySchema>4<", "<policySchema>four<"),
        ("<certificateValidity>", '<certificateValidity xsi:nil="true">'),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(old: str, new: str) -> None:
    encoded = RESPONSE.encode()
    assert old in encoded
    with pytest.raises(BadRequest):
        PolicyResponse.parse(body_of(encoded.replace(old, new)))


@given(st.text(max_size=40), st.binary(max_size=60), st.booleans())
def test_any_names_and_values_come_back(name: str, value: bytes, critical: bool) -> None:
    clean = "".join(name.split()).translate({0xFFFD: None})
    clean = "".join(c for c in clean if c.isprintable())
    policy = replace(FULL, common_name=clean, extensions=(PolicyExtension(INFORMATION, critical, value),))
    response = replace(RESPONSE, policies=(policy,))
    assert PolicyResponse.parse(body_of(response.encode())) == response
