"""Object identifiers: well-formed, each once, named as the other library names them."""

from __future__ import annotations

from cryptography.x509 import oid as other_oids

from certwright.pki import der, oids

CONSTANTS = {name: value for name, value in vars(oids).items() if name.isupper() and not name.startswith("_")}


def test_every_identifier_is_one_and_stands_once() -> None:
    assert len(set(CONSTANTS.values())) == len(CONSTANTS)
    for value in CONSTANTS.values():
        assert der.decode_oid(der.oid(value)[2:]) == value
        assert oids.is_known(value)


def test_the_identifiers_are_those_of_the_other_library() -> None:
    for ours, theirs in (
        (oids.EKU_SERVER_AUTH, other_oids.ExtendedKeyUsageOID.SERVER_AUTH),
        (oids.EKU_SMART_CARD_LOGON, other_oids.ExtendedKeyUsageOID.SMARTCARD_LOGON),
        (oids.EKU_KDC_AUTHENTICATION, other_oids.ExtendedKeyUsageOID.KERBEROS_PKINIT_KDC),
        (oids.CERTIFICATE_TEMPLATE, other_oids.ExtensionOID.MS_CERTIFICATE_TEMPLATE),
        (oids.EMAIL_ADDRESS, other_oids.NameOID.EMAIL_ADDRESS),
        (oids.RSA_PSS, other_oids.SignatureAlgorithmOID.RSASSA_PSS),
        (oids.ECDSA_SHA384, other_oids.SignatureAlgorithmOID.ECDSA_WITH_SHA384),
        (oids.FRESHEST_CRL, other_oids.ExtensionOID.FRESHEST_CRL),
        (oids.ACCESS_CA_ISSUERS, other_oids.AuthorityInformationAccessOID.CA_ISSUERS),
        (oids.CHALLENGE_PASSWORD, other_oids.AttributeOID.CHALLENGE_PASSWORD),
    ):
        assert ours == theirs.dotted_string


def test_an_identifier_nobody_named_is_shown_as_it_is() -> None:
    assert oids.name_of("1.2.3.4") == "1.2.3.4"
    assert not oids.is_known("1.2.3.4")
    assert oids.name_of(oids.NTDS_CA_SECURITY) == "SID Security Extension"
