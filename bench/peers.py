"""Other CAs beside ours, CPU for CPU: cfssl, and django-ca where its installation succeeds.

What is compared is not the same work, and the notes say how it differs: cfssl is given plain HTTP, no accounts and no
database; django-ca is called in its own process, without HTTP. Ours does everything: TLS, accounts, policy, durable
rows, the audit trail. A peer that is missing is named and left out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.certsrv import CONNECTIONS, FAIRNESS, P256, RSA, SLICE_SECONDS, Certsrv, Loaded, remarks, requests_of
from bench.load import Driver, Job
from bench.measure import Contender, Ratio, Sample, Suite, WrongResult

START_SECONDS: Final = 15.0
INSTALL_SECONDS: Final = 600.0
DJANGO_CA: Final = "django-ca==3.2.0"
# The rate of ours by theirs, CPU for CPU.
OF_CFSSL: Final = {P256: 1 / 1.0, RSA: 1 / 0.8}
OF_DJANGO_CA: Final = {P256: 4.0, RSA: 40.0}


class PeerMissing(Exception):
    """The peer is not here; the text says which and how to get it."""


# -- cfssl -----------------------------------------------------------------------------------------------------------


class Cfssl(Loaded):
    """`cfssl serve` with a key and a certificate on disk, and no database."""

    def __init__(self, stack: ExitStack, ca_key: str, requests: Sequence[x509.CertificateSigningRequest]) -> None:
        """Raises:
        PeerMissing: there is no cfssl, or it does not start.
        """
        program = shutil.which("cfssl")
        if program is None:
            raise PeerMissing("cfssl is not installed (Debian: golang-cfssl)")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        key = _new_key(ca_key)
        self._certificate = _ca_certificate(key)
        self._requests = requests
        (folder / "ca.pem").write_bytes(self._certificate.public_bytes(Encoding.PEM))
        (folder / "key.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        usages = ["digital signature", "key encipherment", "server auth"]
        profile = {
            "usages": usages,
            "expiry": "17520h",
            "crl_url": "http://ca.corp.example/CertEnroll/CORP%20Issuing%20CA.crl",
            "issuer_urls": ["http://ca.corp.example/CertEnroll/ca.corp.example_CORP%20Issuing%20CA.crt"],
        }
        (folder / "config.json").write_text(json.dumps({"signing": {"default": profile}}))
        port = _free_port()
        process = subprocess.Popen(
            [
                *(program, "serve", "-loglevel=3", "-address=127.0.0.1", f"-port={port}"),
                *("-ca=ca.pem", "-ca-key=key.pem", "-config=config.json"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, process)
        _wait_for(port, process, "cfssl serve")
        job = Job(
            port=port,
            path="/api/v1/cfssl/sign",
            content_type="application/json",
            bodies=[
                json.dumps({"certificate_request": request.public_bytes(Encoding.PEM).decode()})
                for request in requests
            ],
            marker="-----BEGIN CERTIFICATE-----",
            connections=CONNECTIONS,
        )
        super().__init__(f"cfssl, {ca_key} CA", process.pid, stack.enter_context(Driver(job)))

    def check(self) -> None:
        """The first certificate.

        Raises:
            WrongResult: not for a key that was asked for.
        """
        made = x509.load_pem_x509_certificate(json.loads(self.first())["result"]["certificate"].encode())
        made.verify_directly_issued_by(self._certificate)
        if made.public_key() not in [request.public_key() for request in self._requests]:
            raise WrongResult("cfssl's certificate is for a key that nobody asked for")


def _new_key(kind: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048) if kind == "rsa-2048" else ec.generate_private_key(ec.SECP256R1())


def _ca_certificate(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CORP Issuing CA")])
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise PeerMissing(f"{name} does not start")


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


# -- django-ca -------------------------------------------------------------------------------------------------------


class DjangoCa:
    """`Certificate.objects.create_cert` in a process of its own, in a virtual environment made for it."""

    def __init__(self, stack: ExitStack, ca_key: str, requests: Sequence[x509.CertificateSigningRequest]) -> None:
        """Raises:
        PeerMissing: it cannot be installed, or does not run.
        """
        self.name = f"django-ca, {ca_key} CA"
        self._requests = requests
        python = _django_ca_python()
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-"))
        process = subprocess.Popen(
            [python, Path(__file__).with_name("django_ca_issuer.py"), folder, ca_key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        stack.callback(_end, process)
        self._process = process
        self._made = self._ask(json.dumps([request.public_bytes(Encoding.PEM).decode() for request in requests]))

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise PeerMissing(f"{DJANGO_CA} does not run here: bench/django_ca_issuer.py ended")
        said: dict[str, Any] = json.loads(answer)
        return said

    def run(self, seconds: float) -> Sample:
        """A quarter of the time: nothing has to settle in a process that does one thing after the other."""
        return Sample(**self._ask(str(seconds / 4)))

    def check(self) -> None:
        """The first certificate.

        Raises:
            WrongResult: not for a key that was asked for.
        """
        made = x509.load_pem_x509_certificate(self._made["first"].encode())
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(self._made["ca"].encode()))
        if made.public_key() not in [request.public_key() for request in self._requests]:
            raise WrongResult("django-ca's certificate is for a key that nobody asked for")


def _django_ca_python() -> Path:
    """The interpreter of django-ca's environment, which is made at the first call and kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "certwright-bench" / DJANGO_CA
    python, done = folder / "bin" / "python", folder / "complete"
    if done.exists():
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", DJANGO_CA],
            check=True,
            capture_output=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerMissing(f"{DJANGO_CA} could not be installed: {error}") from error
    done.touch()
    return python


# -- the suite -------------------------------------------------------------------------------------------------------


def suite() -> Suite:
    """Ours beside every peer that is here, with both kinds of CA key."""
    with ExitStack() as stack:
        requests = requests_of()
        contenders: list[Contender] = []
        ratios: list[Ratio] = []
        loaded: list[Loaded] = []
        missing: list[str] = []
        for kind in (P256, RSA):
            ours = Certsrv(stack, kind, requests)
            contenders.append(ours.contender())
            loaded.append(ours)
            for peer, name, bounds in ((Cfssl, "cfssl", OF_CFSSL), (DjangoCa, "django-ca", OF_DJANGO_CA)):
                try:
                    other = peer(stack, kind, requests)
                except PeerMissing as error:
                    missing.append(f"left out: {error}")
                    continue
                contenders.append(Contender(other.name, other.run, other.check))
                ratios.append(Ratio(f"{kind} CA: ours of {name}", ours.name, other.name, bounds[kind]))
                if isinstance(other, Loaded):
                    loaded.append(other)
        return Suite(
            "issuance through /certsrv beside other CAs",
            contenders,
            ratios,
            notes=[*dict.fromkeys(missing), *FAIRNESS, *_fairness()],
            slice_seconds=SLICE_SECONDS,
            remarks=lambda: remarks(loaded),
            close=stack.pop_all().close,
        )
    raise AssertionError("an exit stack swallows nothing")  # for the type checker


def _fairness() -> list[str]:
    notes = [
        f"{DJANGO_CA}: create_cert in its own process, one after the other; no HTTP, no TLS, no accounts; SQLite as "
        "Django sets it up, one commit per certificate; the CA's key is loaded for every certificate"
    ]
    if (program := shutil.which("cfssl")) is not None:
        done = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
        version = ", ".join(" ".join(line.split()) for line in done.stdout.splitlines() if line.strip())
        notes.append(
            f"cfssl ({version}; Debian's is a snapshot of 2016): plain HTTP, {CONNECTIONS} keep-alive connections, "
            "no accounts, no database, the key loaded once; its CPU is of all cores, so both are per CPU second"
        )
    return notes
