# mypy: disable-error-code="var-annotated,type-arg"
"""Tables of the CA database. `store` alone reads and writes them. [MS-CSRA] 3.1.1.1 to 3.1.1.4.

What every certificate touches is narrow; blobs lie in tables of their own. A request, its raw bytes, its certificate
and its revocation share one key: the CA's number in the upper half, the request ID in the lower. The rows are
written together in one transaction, so these tables do without foreign keys, which cost a look-up per row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Substr

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class RowKey(models.BigIntegerField):
    """A key that the store computes. On SQLite it is the row's own number, so that no second index is kept for it."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


class CertificationAuthority(models.Model):
    """One CA. Its row is the lock that every write to its requests holds."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(unique=True)  # common name
    ca_type = models.IntegerField()
    parent = models.TextField()
    settings = models.TextField()  # JSON
    initial_settings = models.TextField(default="{}")  # JSON: what it was made with
    crl_number = models.BigIntegerField()  # last one used
    next_request_id = models.BigIntegerField()
    version = models.BigIntegerField()  # of settings and certificates

    class Meta:
        db_table = "ca"


class CaCertificate(models.Model):
    id = models.BigAutoField(primary_key=True)
    ca = models.ForeignKey(CertificationAuthority, on_delete=models.PROTECT, db_index=False)
    certificate_index = models.IntegerField()
    key_index = models.IntegerField()
    der = models.BinaryField()
    key_name = models.TextField()
    not_before = models.BigIntegerField()
    not_after = models.BigIntegerField()

    class Meta:
        db_table = "ca_ca_certificate"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["ca", "certificate_index"], name="ca_ca_certificate_index"),
        ]


class CompanionCertificate(models.Model):
    """A certificate that belongs to one of the CA's own: of its chain, or a cross certificate."""

    id = models.BigAutoField(primary_key=True)
    ca_id = models.BigIntegerField()
    certificate_index = models.IntegerField()
    role = models.TextField()  # chain, cross
    position = models.IntegerField()
    der = models.BinaryField()

    class Meta:
        db_table = "ca_companion_certificate"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["ca_id", "certificate_index", "role", "position"], name="ca_companion_certificate_place"
            ),
        ]


class CertificateRequest(models.Model):
    """What a CA asked another one to sign, until the answer is installed. One at a time."""

    ca_id = RowKey(primary_key=True)
    key_name = models.TextField()
    request = models.BinaryField()
    made_when = models.BigIntegerField()

    class Meta:
        db_table = "ca_certificate_request"


class Request(models.Model):
    """One row of the request table. [MS-CSRA] 3.1.1.1.1."""

    id = RowKey(primary_key=True)
    ca_id = models.BigIntegerField()
    request_id = models.BigIntegerField()
    state = models.IntegerField()
    status = models.BigIntegerField()
    message = models.TextField()
    submitted_when = models.BigIntegerField()
    resolved_when = models.BigIntegerField(null=True)
    requester_name = models.TextField()
    requester_sid = models.TextField()
    caller_name = models.TextField()
    caller_sid = models.TextField()
    caller_method = models.TextField()
    request_type = models.IntegerField()
    request_flags = models.BigIntegerField()
    attributes = models.TextField()
    template = models.TextField()
    template_oid = models.TextField()
    subject = models.TextField()
    common_name = models.TextField()
    alternative_names = models.TextField()
    key_algorithm = models.TextField()
    key_size = models.IntegerField()
    officer = models.TextField()
    client_facts = models.TextField()  # JSON

    class Meta:
        db_table = "ca_request"
        indexes: ClassVar = [
            # the beginning only: PostgreSQL refuses long index entries, and a subject may say anything
            models.Index("ca_id", Substr("common_name", 1, 64), name="ca_request_common_name"),
            models.Index("ca_id", Substr("requester_name", 1, 64), name="ca_request_requester"),
            models.Index(fields=["id"], name="ca_request_active", condition=Q(state=8)),
            models.Index(fields=["id"], name="ca_request_pending", condition=Q(state=9)),
            models.Index(fields=["id"], name="ca_request_revoked", condition=Q(state=21)),
            models.Index(fields=["id"], name="ca_request_failed", condition=Q(state__gte=30)),
            # what was issued and what failed when, by template: counted without reading a row
            models.Index(
                fields=["ca_id", "resolved_when", "template", "state"],
                name="ca_request_issued",
                condition=Q(state=20),
            ),
            models.Index(
                fields=["ca_id", "resolved_when", "template", "state"],
                name="ca_request_failed_when",
                condition=Q(state__gte=30),
            ),
        ]


class RawRequest(models.Model):
    id = RowKey(primary_key=True)
    raw = models.BinaryField()

    class Meta:
        db_table = "ca_raw_request"


class Certificate(models.Model):
    id = RowKey(primary_key=True)
    ca_id = models.BigIntegerField()
    serial_number = models.TextField()  # lowercase hex
    not_before = models.BigIntegerField()
    not_after = models.BigIntegerField()
    subject_key_identifier = models.TextField()
    sha1 = models.TextField()
    ca_certificate_index = models.IntegerField()
    ca_key_index = models.IntegerField()
    revoked_when = models.BigIntegerField(null=True)
    revoked_effective = models.BigIntegerField(null=True)
    revoked_reason = models.BigIntegerField(null=True)
    released_when = models.BigIntegerField(null=True)  # from hold; delta CRLs say so. [MS-CSRA] 3.1.4.1.6
    crl_partition = models.IntegerField(db_default=0)  # whose CRL its CDP names

    class Meta:
        db_table = "ca_certificate"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["ca_id", "serial_number"], name="ca_certificate_serial"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["ca_id", "not_after"], name="ca_certificate_expiry", condition=Q(revoked_when__isnull=True)
            ),
            models.Index(
                fields=["ca_id", "revoked_when"],
                name="ca_certificate_revoked",
                condition=Q(revoked_when__isnull=False),
            ),
            models.Index(
                fields=["ca_id", "released_when"],
                name="ca_certificate_released",
                condition=Q(released_when__isnull=False),
            ),
            models.Index(
                fields=["ca_id", "crl_partition", "ca_key_index", "not_after"],
                name="ca_certificate_partition",
                condition=Q(crl_partition__gt=0),
            ),
        ]


class CertificateDer(models.Model):
    id = RowKey(primary_key=True)
    der = models.BinaryField()

    class Meta:
        db_table = "ca_certificate_der"


class Revocation(models.Model):
    """What a CRL is made of: one narrow table to read from end to end."""

    id = RowKey(primary_key=True)
    ca_id = models.BigIntegerField()
    ca_key_index = models.IntegerField()
    serial_number = models.TextField()
    not_after = models.BigIntegerField()
    effective = models.BigIntegerField()
    reason = models.IntegerField()
    entry = models.BinaryField()  # DER of the CRL entry
    crl_partition = models.IntegerField(db_default=0)

    class Meta:
        db_table = "ca_revocation"
        indexes: ClassVar = [
            models.Index(fields=["ca_id", "effective"], name="ca_revocation_effective"),
            models.Index(
                fields=["ca_id", "crl_partition", "id"],
                name="ca_revocation_partition",
                condition=Q(crl_partition__gt=0),
            ),
        ]


class RequestExtension(models.Model):
    """An extension an officer set on a pending request. [MS-CSRA] 3.1.4.1.2."""

    id = models.BigAutoField(primary_key=True)
    row_id = models.BigIntegerField()  # of the request
    oid = models.TextField()
    critical = models.IntegerField()
    value = models.BinaryField()

    class Meta:
        db_table = "ca_extension"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["row_id", "oid"], name="ca_extension_oid"),
        ]


class Crl(models.Model):
    id = models.BigAutoField(primary_key=True)
    ca_id = models.BigIntegerField()
    key_index = models.IntegerField()
    number = models.BigIntegerField()
    min_base = models.BigIntegerField()  # 0: a base CRL
    this_update = models.BigIntegerField()
    next_update = models.BigIntegerField()
    next_publish = models.BigIntegerField()
    entry_count = models.BigIntegerField()
    published_when = models.BigIntegerField(null=True)
    publish_error = models.TextField()
    crl_partition = models.IntegerField(db_default=0)  # 0: the list of everything

    class Meta:
        db_table = "ca_crl"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["ca_id", "key_index", "crl_partition", "number", "min_base"], name="ca_crl_number"
            ),
        ]


class Delivery(models.Model):
    """How a published file stands at a target."""

    id = models.BigAutoField(primary_key=True)
    ca_id = models.BigIntegerField()
    target = models.TextField()
    file = models.TextField()
    number = models.BigIntegerField(null=True)  # of a CRL
    delivered_when = models.BigIntegerField(null=True)
    tried_when = models.BigIntegerField()
    error = models.TextField()

    class Meta:
        db_table = "ca_delivery"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["ca_id", "target", "file"], name="ca_delivery_of_file"),
        ]


class CrlDer(models.Model):
    id = RowKey(primary_key=True)
    der = models.BinaryField()

    class Meta:
        db_table = "ca_crl_der"
