"""django-ca's issuing path in a process of its own, run by the interpreter of its virtual environment.

    python django_ca_issuer.py FOLDER KEY-KIND < lines

The first line on standard input is a JSON list of requests (PEM). The answer is a JSON object with the first
certificate and the CA's (PEM). Each further line is a number of seconds: it issues for so long, one certificate after
the other, and prints count, CPU and wall time. What is called is what its documentation shows: a project with SQLite,
`CertificateAuthority.objects.init`, `Certificate.objects.create_cert`, the profile for web servers.

Imports nothing of ours: the environment holds django-ca and what that needs.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


def configure(folder: Path) -> None:
    """A Django project as the quickstart makes it, in a folder."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        SECRET_KEY="bench",
        USE_TZ=True,
        INSTALLED_APPS=[
            *("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"),
            *("django.contrib.messages", "django.contrib.admin", "django_object_actions", "django_ca"),
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        CA_DEFAULT_HOSTNAME="ca.corp.example",
        STORAGES={
            "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
            "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
            "django-ca": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(folder / "keys")},
            },
        },
    )
    django.setup()
    from django.urls import include, path

    settings.ROOT_URLCONF = (path("django_ca/", include("django_ca.urls")),)
    call_command("migrate", verbosity=0)


def certificate_authority(kind: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID
    from django_ca.key_backends import key_backends
    from django_ca.key_backends.storages.models import StoragesCreatePrivateKeyOptions
    from django_ca.models import CertificateAuthority

    is_rsa = kind == "rsa-2048"
    key_type = "RSA" if is_rsa else "EC"
    more: dict[str, Any] = {"key_size": 2048} if is_rsa else {"elliptic_curve": "secp256r1"}
    options = StoragesCreatePrivateKeyOptions(key_type=key_type, password=None, path=Path("ca"), **more)
    return CertificateAuthority.objects.init(
        "issuing",
        key_backends["default"],
        options,
        subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CORP Issuing CA")]),
        not_after=datetime.now(UTC) + timedelta(days=3650),
        key_type=key_type,
    )


def main() -> None:
    from cryptography import x509

    folder, kind = Path(sys.argv[1]), sys.argv[2]
    configure(folder)
    from cryptography.hazmat.primitives.serialization import Encoding
    from django_ca.models import Certificate
    from django_ca.profiles import profiles

    authority = certificate_authority(kind)
    options = authority.key_backend.get_use_private_key_options(authority, {})
    requests = itertools.cycle([x509.load_pem_x509_csr(pem.encode()) for pem in json.loads(sys.stdin.readline())])

    def issue() -> Any:
        request = next(requests)
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return Certificate.objects.create_cert(
            authority, options, request, profiles["webserver"], subject=request.subject, extensions=[names]
        )

    first = issue().pub.loaded
    pem = [certificate.public_bytes(Encoding.PEM).decode() for certificate in (first, authority.pub.loaded)]
    print(json.dumps({"first": pem[0], "ca": pem[1]}), flush=True)
    for line in sys.stdin:
        seconds, count = float(line), 0
        wall, begun = time.perf_counter(), time.process_time()
        while (spent := time.process_time() - begun) < seconds:
            issue()
            count += 1
        print(json.dumps({"count": count, "cpu": spent, "wall": time.perf_counter() - wall}), flush=True)


if __name__ == "__main__":
    main()
