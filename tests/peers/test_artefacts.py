"""What a running CA makes, before other people's judges: OpenSSL, GnuTLS, pkilint; for every published template."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.gates import ISSUED, PENDING, WebEnrollment
from tests.support.installation import ISSUING, ROOT, GateTemplates, People
from tests.support.load import BasicSession
from tests.support.programs import certtool, openssl
from tests.support.requests import PrivateKey, ec_key, rsa_key, web_server_request
from tests.support.server import DOMAIN, RunningServer

pytestmark = pytest.mark.peer

ACCOUNTS: Final = {
    "Machine": People.COMPUTER,
    "DomainController": People.DOMAIN_CONTROLLER,
    "DomainControllerAuthentication": People.DOMAIN_CONTROLLER,
    "DirectoryEmailReplication": People.DOMAIN_CONTROLLER,
    "KerberosAuthentication": People.DOMAIN_CONTROLLER,
}


@dataclass(frozen=True)
class Artefacts:
    """Certificates by template and key, and the chain and CRLs above them, as PEM files."""

    leaves: dict[str, Path]
    issuer: Path
    root: Path
    crls: dict[str, Path]

    @property
    def cas(self) -> tuple[Path, ...]:
        return self.issuer, self.root


def fetch(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def crl_urls(certificate: x509.Certificate) -> list[str]:
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return [str(full.value) for point in points for full in point.full_name or []]


def issuer_urls(certificate: x509.Certificate) -> list[str]:
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    wanted = x509.AuthorityInformationAccessOID.CA_ISSUERS
    return [str(each.access_location.value) for each in access if each.access_method == wanted]


def issue(server: RunningServer, gate: WebEnrollment, template: str, key: PrivateKey) -> x509.Certificate:
    """Through /certsrv; what waits is approved at the command line."""
    account = ACCOUNTS.get(template, People.ADMINISTRATOR)
    request = web_server_request(f"{template.lower()}.{DOMAIN}", key=key)
    outcome = gate.submit(account, request, (f"CertificateTemplate:{template}",))
    der = outcome.certificate
    if outcome.decision == PENDING:
        server.cli("request", "issue", str(outcome.request_id))
        session = BasicSession(server, account)
        assert outcome.request_id is not None
        _, der = session.fetch(outcome.request_id)
        session.close()
    else:
        assert outcome.decision == ISSUED, f"{template}: {outcome.decision}"
    return x509.load_der_x509_certificate(der or b"")


@pytest.fixture(scope="module")
def artefacts(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    folder = tmp_path_factory.mktemp("artefacts")
    with Installation.open(Home.open(server.home)) as installation:
        service = installation.directory.enrollment_service(ISSUING)
        assert service is not None
        published = [template for template in service.templates if template != "SubCA"]  # path length 0: none below
    gate = WebEnrollment(server)

    def pem(label: str, certificate: x509.Certificate) -> Path:
        path = folder / f"{label}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path

    made = {template: issue(server, gate, template, rsa_key(2048)) for template in published}
    made |= {f"{cn}-EC": issue(server, gate, cn, ec_key()) for cn in ("WebServer", "User", "Machine")}
    gate.close()
    leaf = made["WebServer"]
    issuer = x509.load_der_x509_certificate(fetch(issuer_urls(leaf)[0]))
    root = x509.load_der_x509_certificate(fetch(issuer_urls(issuer)[0]))
    crls = {}
    for label, url in ((ISSUING, crl_urls(leaf)[0]), (ROOT, crl_urls(issuer)[0])):
        crls[label] = folder / f"{label}.crl.pem"
        crls[label].write_bytes(x509.load_der_x509_crl(fetch(url)).public_bytes(Encoding.PEM))
    return Artefacts(
        {label: pem(label, certificate) for label, certificate in made.items()},
        pem("issuer", issuer),
        pem("root", root),
        crls,
    )


def test_every_published_template_was_issued(artefacts: Artefacts) -> None:
    assert len(artefacts.leaves) == 14 + 3
    assert {GateTemplates.APPROVAL, "SmartcardUser", "KerberosAuthentication"} <= artefacts.leaves.keys()


def test_aia_leads_to_the_root_that_clients_were_given(artefacts: Artefacts, server: RunningServer) -> None:
    """RFC 5280 4.2.2.1, up to the certificate that `init` wrote."""
    assert x509.load_pem_x509_certificate(artefacts.root.read_bytes()) == x509.load_pem_x509_certificate(
        server.root_certificate.read_bytes()
    )


def test_openssl_verifies_chain_and_revocation_of_all(artefacts: Artefacts) -> None:
    """Strictly by RFC 5280, with the CRLs that the certificates' own CDP led to."""
    crls = [part for path in artefacts.crls.values() for part in ("-CRLfile", path)]
    verified = openssl(
        *("verify", "-x509_strict", "-crl_check_all", "-CAfile", artefacts.root),
        *("-untrusted", artefacts.issuer, *crls),
        *artefacts.leaves.values(),
    )

    assert verified.count(": OK\n") == len(artefacts.leaves)


@pytest.mark.parametrize(
    ("label", "purpose"),
    [
        ("WebServer", "sslserver"),
        ("WebServer-EC", "sslserver"),
        ("Machine", "sslclient"),
        ("Machine-EC", "sslserver"),
        ("User", "sslclient"),
        ("User", "smimesign"),
        ("SmartcardUser", "sslclient"),
    ],
)
def test_openssl_finds_them_fit_for_their_purpose(artefacts: Artefacts, label: str, purpose: str) -> None:
    verified = openssl(
        *("verify", "-x509_strict", "-purpose", purpose, "-CAfile", artefacts.root),
        *("-untrusted", artefacts.issuer, artefacts.leaves[label]),
    )

    assert verified.endswith(": OK\n")


def test_openssl_sees_a_revocation_on_the_next_crl(
    artefacts: Artefacts, server: RunningServer, tmp_path: Path
) -> None:
    leaf = issue_one(server, "revoked")
    serial = f"{leaf.serial_number:x}"
    server.cli("certificate", "revoke", serial, "--reason", "keyCompromise", "--publish-crl")
    newer = tmp_path / "newer.pem"
    published = server.home / "published" / f"{ISSUING}.crl"  # the listener may serve what it read a moment ago
    newer.write_bytes(x509.load_der_x509_crl(published.read_bytes()).public_bytes(Encoding.PEM))
    path = tmp_path / "leaf.pem"
    path.write_bytes(leaf.public_bytes(Encoding.PEM))

    said = openssl(
        *("verify", "-crl_check", "-CAfile", artefacts.root, "-untrusted", artefacts.issuer),
        *("-CRLfile", newer, path),
        check=False,
    )

    assert "certificate revoked" in said


def issue_one(server: RunningServer, host: str) -> x509.Certificate:
    gate = WebEnrollment(server)
    request = web_server_request(f"{host}.{DOMAIN}")
    outcome = gate.submit(People.ENROLLEE, request, ("CertificateTemplate:WebServer",))
    gate.close()
    return x509.load_der_x509_certificate(outcome.certificate or b"")


def test_gnutls_verifies_all(artefacts: Artefacts, tmp_path: Path) -> None:
    for label, leaf in artefacts.leaves.items():
        chain = tmp_path / "chain.pem"
        chain.write_bytes(b"".join(path.read_bytes() for path in (leaf, *artefacts.cas)))
        said = certtool("--verify", "--load-ca-certificate", artefacts.root, "--infile", chain)
        assert "The certificate is trusted" in said, label


def test_gnutls_verifies_the_crls(artefacts: Artefacts) -> None:
    for label, ca in ((ISSUING, artefacts.issuer), (ROOT, artefacts.root)):
        said = certtool("--verify-crl", "--load-ca-certificate", ca, "--infile", artefacts.crls[label])
        assert "Verified" in said, said


# -- pkilint --------------------------------------------------------------------------------------------------------

LINTER = """
import sys
from pkilint.bin import lint_crl, lint_pkix_cert, lint_pkix_signer_signee_cert_chain
linter = {"cert": lint_pkix_cert, "crl": lint_crl, "chain": lint_pkix_signer_signee_cert_chain}[sys.argv[1]]
options = ["-t", "CRL", "-p", "PKIX"] if sys.argv[1] == "crl" else []
size = 2 if sys.argv[1] == "chain" else 1
files = sys.argv[2:]
for first in range(0, len(files), size):
    print("##", files[first + size - 1])
    linter.main(["lint", "-s", "ERROR", *options, *files[first : first + size]])
"""


_SINGLE_LABEL: Final = re.compile(
    r'invalid_uri_syntax .* "http://localhost:\d+/CertEnroll/|invalid_domain_name_syntax .* "CORP"$'
)
"""pkilint wants a dot in every host name; RFC 1034 3.5, and so RFC 5280 4.2.1.6, does not.

The host of these tests has none, and KerberosAuthentication certifies the short name of the domain: [MS-WCCE]
3.2.2.6.2.1.4.5.9.
"""


def findings(kind: str, *paths: Path) -> dict[str, list[str]]:
    """pkilint's findings of severity ERROR and FATAL by file; one process for all of them."""
    pytest.importorskip("pkilint", reason="pkilint is not installed (pip install 'certwright[lint]')")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LINTER, kind, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("## "):
            found[Path(line[3:]).stem] = current = []
        elif re.search(r"\((ERROR|FATAL)\)", line) and not _SINGLE_LABEL.search(line):
            current.append(line)
    return found


def test_pkilint_finds_no_error_in_any_certificate(artefacts: Artefacts) -> None:
    found = findings("cert", *artefacts.leaves.values(), *artefacts.cas)

    assert len(found) == len(artefacts.leaves) + 2
    assert {label: lines for label, lines in found.items() if lines} == {}


def test_pkilint_would_find_one(artefacts: Artefacts) -> None:
    """A judge that finds nothing in anything proves nothing: no server certificate issued the CA's."""
    found = findings("chain", artefacts.leaves["WebServer"], artefacts.issuer)

    assert found["issuer"]


def test_pkilint_finds_no_error_in_the_crls_and_the_chain(artefacts: Artefacts) -> None:
    """Issuer and subject fit together: names, key identifiers, path lengths."""
    crls = findings("crl", *artefacts.crls.values())
    pairs = [path for leaf in artefacts.leaves.values() for path in (artefacts.issuer, leaf)]
    chain = findings("chain", artefacts.root, artefacts.issuer, *pairs)

    assert len(crls) == 2
    assert len(chain) == len(artefacts.leaves) + 1
    assert {label: lines for label, lines in (crls | chain).items() if lines} == {}
