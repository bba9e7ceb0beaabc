"""Issuing a certificate in one process, without database and network: intake, policy, prepare, redeem.

The floor is what no CA can leave out: verify the request's signature and make the certificate's. Every call gets
another request out of a pool larger than any cache of names, so that nothing is fast because it was seen before.

The bounds are for batches of 16, done as the issuer thread does what waits: parse all, verify all, decide all, sign
all. One at a time costs more: Python and signatures by turns drive each other out of the processor's caches. The bare
recipe beside them is the least that Python can do for a certificate with a subject, an alternative name and a key out
of a request: no policy, no look at the result; what of it misses a bound, this machine's processor misses.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from bench.measure import Contender, Ratio, Suite, WrongResult, in_process
from certwright.adcs.properties import CaType
from certwright.adcs.request import RequestAttributes, RequestFlags, template_attributes
from certwright.adcs.requester import AUTHENTICATED_USERS, AuthMethod, Requester, Sid
from certwright.adcs.template import (
    CertificateTemplate,
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRule,
    NameRules,
    PrivateKeyFlag,
)
from certwright.ca.intake.formats import accept_request, parse_request, read_request
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.issuance.preparing import PreparedCertificate
from certwright.ca.issuance.signing import CaSigner, new_serial_number
from certwright.ca.policy.base import CaFacts, CertificateSpec, Issue
from certwright.ca.policy.enterprise import EnterprisePolicy
from certwright.ca.urls import IssuanceUrls
from certwright.directory.base import Domain, Principal, PrincipalKind
from certwright.keystores.software import SoftwareSigningKey
from certwright.pki import der
from certwright.pki.certificate import CertificateView, assemble_signed, assemble_tbs
from certwright.pki.extensions import extension
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.public_keys import PublicKeyInfo

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

RSA_OF_RAW_SIGNING: Final = 0.85
P256_OF_FLOOR: Final = 0.65

BATCH: Final = 16
POOL: Final = 1280
"""Requests of one kind; names are remembered up to 1024."""

_NOW: Final = datetime.now(UTC)
_DOMAIN: Final = Domain("corp.example", "CORP", Sid("S-1-5-21-1004336348-1177238915-682003330"), "DC=corp,DC=example")
_COMPUTER: Final = Principal(
    sid=Sid(f"{_DOMAIN.sid}-1104"),
    kind=PrincipalKind.COMPUTER,
    account="CORP\\WEB01$",
    common_name="WEB01",
    distinguished_name="CN=WEB01,OU=Servers,DC=corp,DC=example",
    guid=uuid.UUID(int=1104).bytes_le,
    enabled=True,
    groups=frozenset({AUTHENTICATED_USERS, Sid(f"{_DOMAIN.sid}-515")}),
    dns_host_name="web01.corp.example",
)
_CALLER: Final = Requester(_COMPUTER.account, _COMPUTER.sid, _COMPUTER.groups, AuthMethod.NTLM)
_URLS: Final = IssuanceUrls(
    cdp=("http://pki.corp.example/CertEnroll/Corp%20Issuing%20CA.crl",),
    aia=("http://pki.corp.example/CertEnroll/pki.corp.example_Corp%20Issuing%20CA.crt",),
    ocsp=("http://pki.corp.example/ocsp",),
)
_SERVER_AUTH, _CLIENT_AUTH = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
_EVERY_EXTENSION: Final = frozenset(
    {
        *("2.5.29.14", "2.5.29.35", "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.31", "1.3.6.1.5.5.7.1.1"),
        *("1.3.6.1.4.1.311.21.7", "1.3.6.1.4.1.311.21.10", "1.3.6.1.4.1.311.25.2"),
    }
)


def _template(cn: str, name_flag: NameFlag, rules: NameRules) -> CertificateTemplate:
    """A template of schema 4 with everything that AD CS puts on a certificate."""
    return CertificateTemplate(
        cn=cn,
        display_name=cn,
        oid=f"1.3.6.1.4.1.311.21.8.6887730.1798674.9981081.2838527.7760504.198.{len(cn)}.1",
        schema_version=4,
        major_version=100,
        minor_version=4,
        flags=GeneralFlag.MACHINE_TYPE,
        enrollment_flag=EnrollmentFlag(0),
        private_key_flag=PrivateKeyFlag(0),
        name_flag=name_flag,
        validity_period=timedelta(days=365),
        renewal_period=timedelta(days=42),
        key_usage=b"\xa0",
        extended_key_usage=(_SERVER_AUTH, _CLIENT_AUTH),
        application_policies=(_SERVER_AUTH, _CLIENT_AUTH),
        issuance_policies=(),
        critical_extensions=("2.5.29.15",),
        minimal_key_size=2048,
        max_issuing_depth=0,
        default_key_spec=1,
        default_csps=(),
        ra_signatures=0,
        ra_application_policies=(),
        ra_policies=(),
        superseded_templates=(),
        security_descriptor=f"D:(OA;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;{AUTHENTICATED_USERS})",
        name_rules=rules,
    )


FROM_DIRECTORY: Final = _template(
    "WorkstationAuthentication", NameFlag.REQUIRE_DNS_AS_CN | NameFlag.ALT_REQUIRE_DNS, NameRules()
)
FROM_REQUEST: Final = _template(
    "WebServer", NameFlag.ENROLLEE_SUPPLIES_SUBJECT, NameRules((NameRule(dns_suffixes=("corp.example",)),))
)


class InProcess:
    """One CA and a pool of requests for it."""

    def __init__(self, ca_key: PrivateKey, request_keys: Iterable[PrivateKey], template: CertificateTemplate) -> None:
        self.ca_key = ca_key
        self.ca_certificate = _ca_certificate(ca_key)
        key = SoftwareSigningKey("issuing", ca_key)
        self.signer = CaSigner(self.ca_certificate.public_bytes(Encoding.DER), 0, 0, key, _URLS)
        keys = list(request_keys)
        self.requests = [_request(keys[number % len(keys)], number) for number in range(POOL)]
        self.attributes: RequestAttributes = template_attributes(template.cn)
        self.policy = EnterprisePolicy()
        facts = CaFacts(
            name="Corp Issuing CA",
            ca_type=CaType.ENTERPRISE_SUBORDINATE,
            not_before=_NOW - timedelta(days=30),
            not_after=_NOW + timedelta(days=3650),
            now=_NOW,
            clock_skew=timedelta(minutes=10),
            maximum_validity=timedelta(days=730),
            domain=_DOMAIN,
            templates={template.cn: template},
            published=frozenset({template.cn}),
        )
        self._moments = [facts._replace(now=_NOW + timedelta(seconds=passed)) for passed in range(600)]
        self.has_sid = NameFlag.ENROLLEE_SUPPLIES_SUBJECT not in template.name_flag
        view = CertificateView.parse(self.issue(0))
        self._tbs, self._algorithm, self._issuer = view.tbs, view.algorithm, view.issuer
        self._extensions = b"".join(each.encode() for oid, each in view.extensions.items() if oid != "2.5.29.17")
        self._decided = [self._decide(number, self._read(number)) for number in range(len(self.requests))]

    def issue(self, number: int) -> bytes:
        """What the CA does between a request's arrival and its row."""
        return self.signer.redeem(self._prepare(number, self._read(number)))

    def issue_batch(self, number: int) -> list[bytes]:
        """The same for what waits, in the order in which the issuer does it."""
        numbers = range(number * BATCH, (number + 1) * BATCH)
        raws = [self.requests[each % len(self.requests)] for each in numbers]
        parsed = [parse_request(raw, RequestFlags.DETECT) for raw in raws]
        read = [
            accept_request(each, raw, _CALLER, _COMPUTER, self.attributes)
            for each, raw in zip(parsed, raws, strict=True)
        ]
        prepared = [self._prepare(each, request) for each, request in zip(numbers, read, strict=True)]
        return [self.signer.redeem(each) for each in prepared]

    def _read(self, number: int) -> EnrollmentRequest:
        raw = self.requests[number % len(self.requests)]
        return read_request(raw, _CALLER, _COMPUTER, self.attributes, RequestFlags.DETECT)

    def _prepare(self, number: int, request: EnrollmentRequest) -> PreparedCertificate:
        spec, public_key = self._decide(number, request)
        return self.signer.prepare(spec, public_key, new_serial_number())

    def _decide(self, number: int, request: EnrollmentRequest) -> tuple[CertificateSpec, PublicKeyInfo]:
        # A second passes with every batch: at this rate that is long, and each batch has a validity of its own.
        verdict = self.policy.verify(request, self._moments[number // BATCH % len(self._moments)])
        if not isinstance(verdict, Issue):
            raise WrongResult(f"the request was not issued: {verdict}")
        return verdict.spec, request.public_key

    def bare_recipe(self, number: int) -> bytes:
        """The least work in Python that makes a certificate out of a request: verify, splice, sign; no policy."""
        request = x509.load_der_x509_csr(self.requests[number % len(self.requests)])
        if not request.is_signature_valid:
            raise WrongResult("the request's signature does not verify")
        name = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        info = request.tbs_certrequest_bytes
        subject = der.start_of(info, 0) + 3
        key = der.end_of(info, subject)
        spec, _ = self._decided[0]
        tbs = assemble_tbs(
            new_serial_number(),
            self._algorithm,
            self._issuer,
            spec.not_before,
            spec.not_after,
            info[subject:key],
            info[key : der.end_of(info, key)],
            self._extensions + extension("2.5.29.17", name.public_bytes()),
        )
        return assemble_signed(tbs, self._algorithm, self._signature(tbs))

    def prepare_and_redeem(self, number: int) -> bytes:
        """The engine alone: what the policy decided, made into a certificate."""
        spec, public_key = self._decided[number % len(self._decided)]
        return self.signer.redeem(self.signer.prepare(spec, public_key, new_serial_number()))

    def verify_prepare_and_redeem(self, number: int) -> bytes:
        """Engine and proof of possession, without templates, directory and policy."""
        request = CertificationRequest.parse(self.requests[number % len(self.requests)])
        request.verify_signature()
        spec, _ = self._decided[number % len(self._decided)]
        return self.signer.redeem(self.signer.prepare(spec, request.public_key, new_serial_number()))

    def verify_and_sign(self, number: int) -> None:
        """The floor: proof of possession and one signature."""
        if not x509.load_der_x509_csr(self.requests[number % len(self.requests)]).is_signature_valid:
            raise WrongResult("the request's signature does not verify")
        self.sign(number)

    def sign(self, number: int) -> bytes:
        """One raw signature over as many bytes as a certificate has."""
        return self._signature(self._tbs)

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.ca_key, rsa.RSAPrivateKey):
            return self.ca_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.ca_key.sign(data, ec.ECDSA(hashes.SHA256()))

    def check(self) -> None:
        """The first result, by the other library: signed by the CA, for this request, with every extension."""
        made = x509.load_der_x509_certificate(self.issue_batch(0)[0])
        made.verify_directly_issued_by(self.ca_certificate)
        request = x509.load_der_x509_csr(self.requests[0])
        if made.public_key() != request.public_key():
            raise WrongResult("the certificate is for another key")
        expected = _EVERY_EXTENSION if self.has_sid else _EVERY_EXTENSION - {"1.3.6.1.4.1.311.25.2"}
        if {extension.oid.dotted_string for extension in made.extensions} != expected:
            raise WrongResult(f"the certificate has other extensions: {[e.oid for e in made.extensions]}")


def suite() -> Suite:
    """RSA and P-256, names from the directory and from the request."""
    rsa_keys = [rsa.generate_private_key(65537, 2048) for _ in range(6)]
    ec_keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(64)]
    ca_rsa, ca_ec = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    by_rsa = InProcess(ca_rsa, rsa_keys, FROM_DIRECTORY)
    by_rsa_ec = InProcess(ca_rsa, ec_keys, FROM_DIRECTORY)
    by_ec = InProcess(ca_ec, ec_keys, FROM_DIRECTORY)
    by_ec_named = InProcess(ca_ec, ec_keys, FROM_REQUEST)
    return Suite(
        "issuance in process",
        [
            _batches("issue, RSA-2048", by_rsa),
            _batches("issue, RSA-2048 for P-256", by_rsa_ec),
            _batches("issue, P-256", by_ec),
            _batches("issue, P-256, names from the request", by_ec_named),
            in_process("issue singly, RSA-2048", by_rsa.issue),
            in_process("issue singly, P-256", by_ec.issue),
            in_process("bare recipe, RSA-2048", by_rsa.bare_recipe),
            in_process("bare recipe, P-256", by_ec.bare_recipe),
            in_process("prepare and redeem, RSA-2048", by_rsa.prepare_and_redeem),
            in_process("prepare and redeem, P-256", by_ec.prepare_and_redeem),
            in_process("verify, prepare and redeem, RSA-2048", by_rsa.verify_prepare_and_redeem),
            in_process("verify, prepare and redeem, P-256", by_ec.verify_prepare_and_redeem),
            in_process("verify and sign, RSA-2048", by_rsa.verify_and_sign),
            in_process("verify and sign, P-256", by_ec.verify_and_sign),
            in_process("raw RSA-2048 signature", by_rsa.sign),
            in_process("raw P-256 signature", by_ec.sign),
        ],
        [
            Ratio("RSA-2048: of raw signing", "issue, RSA-2048", "raw RSA-2048 signature", RSA_OF_RAW_SIGNING),
            Ratio("RSA-2048: bare recipe of raw signing", "bare recipe, RSA-2048", "raw RSA-2048 signature"),
            Ratio("RSA-2048: verify and sign of raw signing", "verify and sign, RSA-2048", "raw RSA-2048 signature"),
            Ratio("RSA-2048: engine of raw signing", "prepare and redeem, RSA-2048", "raw RSA-2048 signature"),
            Ratio("RSA-2048: of verify and sign", "issue, RSA-2048", "verify and sign, RSA-2048"),
            Ratio(
                "RSA-2048: without policy, of verify and sign",
                "verify, prepare and redeem, RSA-2048",
                "verify and sign, RSA-2048",
            ),
            Ratio("RSA-2048 for P-256: of raw signing", "issue, RSA-2048 for P-256", "raw RSA-2048 signature"),
            Ratio("RSA-2048, singly: of raw signing", "issue singly, RSA-2048", "raw RSA-2048 signature"),
            Ratio("P-256: of verify and sign", "issue, P-256", "verify and sign, P-256", P256_OF_FLOOR),
            Ratio(
                "P-256, names from the request: of verify and sign",
                "issue, P-256, names from the request",
                "verify and sign, P-256",
                P256_OF_FLOOR,
            ),
            Ratio("P-256: bare recipe of verify and sign", "bare recipe, P-256", "verify and sign, P-256"),
            Ratio("P-256, singly: of verify and sign", "issue singly, P-256", "verify and sign, P-256"),
            Ratio(
                "P-256: without policy, of verify and sign",
                "verify, prepare and redeem, P-256",
                "verify and sign, P-256",
            ),
            Ratio("P-256: engine of raw signing", "prepare and redeem, P-256", "raw P-256 signature"),
        ],
        notes=[
            f"intake, policy, prepare and redeem with the read-back of every certificate; batches of {BATCH};"
            " no database"
        ],
    )


def _batches(name: str, one: InProcess) -> Contender:
    return in_process(name, one.issue_batch, one.check, makes=BATCH)


def _request(key: PrivateKey, number: int) -> bytes:
    """A request as administrators make it: subject, alternative names, usages."""
    host = f"web{number:02d}.corp.example"
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName(f"www.{host}")]), False)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(_SERVER_AUTH)]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def _ca_certificate(key: PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corp Issuing CA")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(1)
        .not_valid_before(_NOW - timedelta(days=30))
        .not_valid_after(_NOW + timedelta(days=3650))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
