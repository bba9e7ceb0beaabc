# mypy: disable-error-code="var-annotated"
"""Tables of the manager. Its `store` files write them; lists and counts of certificates are read in `inventory`.

`*_key` columns hold a name as it is compared (`values.key`); the name beside it is as it was written. Times are
seconds since the epoch. Names of certificates stand in a table of their own, so that a search for how one begins
needs no scan; lists are sorted and paged along the indexes.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class DeviceUser(models.Model):
    """An account that orders; its password or keytab is sealed and bound to the row."""

    name = models.TextField()
    name_key = models.TextField(unique=True)
    username = models.TextField()
    realm = models.TextField()
    kind = models.TextField()
    secret = models.BinaryField()  # sealed
    expires = models.BigIntegerField(null=True)
    expiry_told = models.BigIntegerField(null=True)  # the `expires` that people were told of
    created = models.BigIntegerField()
    secret_changed = models.BigIntegerField()

    class Meta:
        db_table = "manager_device_user"


class Service(models.Model):
    """An AD CS service."""

    domain = models.TextField()
    domain_key = models.TextField()
    hostname = models.TextField()
    host_key = models.TextField()
    port = models.IntegerField()
    priority = models.IntegerField()
    auth_method = models.TextField()
    kind = models.TextField()
    trust = models.TextField()
    trust_data = models.TextField()
    ca = models.TextField()
    approve_templates = models.TextField()  # JSON list
    via = models.TextField(default="certsrv")
    device_user = models.ForeignKey(DeviceUser, models.PROTECT)
    config = models.TextField()
    ca_name = models.TextField()
    ca_sha256 = models.TextField()
    ca_chain = models.BinaryField()  # certs-only CMS, or empty
    ca_not_after = models.BigIntegerField(null=True)
    refreshed = models.BigIntegerField(null=True)
    next_refresh = models.BigIntegerField()
    last_contact = models.BigIntegerField(null=True)
    last_error = models.TextField()
    last_error_when = models.BigIntegerField(null=True)
    last_request_id = models.BigIntegerField()
    created = models.BigIntegerField()

    class Meta:
        db_table = "manager_service"
        constraints = (
            models.UniqueConstraint(
                fields=["domain_key", "host_key", "port", "kind", "ca"], name="manager_service_once"
            ),
        )


class ServiceTemplate(models.Model):
    """A template that a service offered when it was read last."""

    service = models.ForeignKey(Service, models.CASCADE)
    position = models.IntegerField()
    name = models.TextField()
    name_key = models.TextField()
    display_name = models.TextField()
    supplies_subject = models.BooleanField()
    oid = models.TextField()
    minimal_key_size = models.BigIntegerField()
    ra_signatures = models.BigIntegerField()

    class Meta:
        db_table = "manager_service_template"
        constraints = (models.UniqueConstraint(fields=["service", "name_key"], name="manager_service_template_once"),)


class PrivateKey(models.Model):
    """A private key made or imported here: PKCS#8, sealed and bound to its public key."""

    spki_sha256 = models.TextField(unique=True)
    algorithm = models.TextField()  # for people
    sealed = models.BinaryField()
    created = models.BigIntegerField()
    created_by = models.TextField()

    class Meta:
        db_table = "manager_private_key"


class RequestForm(models.Model):
    """A saved request form."""

    name = models.TextField()
    name_key = models.TextField(unique=True)
    fields = models.TextField()  # JSON
    used = models.BigIntegerField()
    last_used = models.BigIntegerField(null=True)
    created = models.BigIntegerField()

    class Meta:
        db_table = "manager_request_form"


class Order(models.Model):
    """An order. Its number is ours; request IDs of two CAs collide."""

    created = models.BigIntegerField()
    created_by = models.TextField()
    state = models.SmallIntegerField()  # values.OrderState
    domain = models.TextField()
    domain_key = models.TextField()
    template = models.TextField()
    template_key = models.TextField()
    common_name = models.TextField()
    name_key = models.TextField()
    subject = models.TextField()
    names = models.TextField()
    key_name = models.TextField()
    csr_sha256 = models.TextField()
    spki_sha256 = models.TextField()
    service_id = models.BigIntegerField(null=True)  # what it was sent to, or is about to be; outlives the service
    hostname = models.TextField()
    priority = models.IntegerField()
    config = models.TextField()
    requester = models.TextField()
    tried = models.TextField()  # JSON list of services that were not reached in this attempt
    last_known_id = models.BigIntegerField()  # highest request ID known of that CA before it was sent
    request_id = models.BigIntegerField(null=True)
    status = models.BigIntegerField()  # HRESULT, unsigned
    message = models.TextField()
    approval = models.TextField()
    absent = models.BooleanField()
    lease = models.BigIntegerField(null=True)  # while submitting: until when whoever does it may be waited for
    sent = models.BigIntegerField(null=True)  # from just before something left this machine
    settled = models.BigIntegerField(null=True)
    next_check = models.BigIntegerField(null=True)
    checks = models.IntegerField()
    owner = models.TextField()
    owner_key = models.TextField()
    tags = models.TextField()  # JSON list
    auto_fetch = models.BooleanField()
    certificate_id = models.BigIntegerField(null=True)
    renews = models.BigIntegerField(null=True)
    renew_days = models.IntegerField(default=0)  # before expiry; 0: by no rule of its own
    token = models.TextField(null=True, unique=True)
    deleted = models.BigIntegerField(null=True)
    deleted_by = models.TextField(db_default="")

    class Meta:
        db_table = "manager_order"
        indexes = (
            models.Index(fields=["state", "id"], name="manager_order_state"),
            models.Index(fields=["name_key", "id"], name="manager_order_name"),
            models.Index(fields=["next_check"], name="manager_order_due", condition=Q(next_check__isnull=False)),
            models.Index(fields=["service_id", "state"], name="manager_order_service"),
            models.Index(fields=["spki_sha256"], name="manager_order_spki"),
        )


class OrderData(models.Model):
    """What is large of an order."""

    order = models.OneToOneField(Order, models.CASCADE, primary_key=True)
    csr = models.BinaryField()
    certificate = models.BinaryField(null=True)  # DER
    chain = models.BinaryField(null=True)  # certs-only CMS

    class Meta:
        db_table = "manager_order_data"


class OrderLine(models.Model):
    """A line of an order's story."""

    order = models.ForeignKey(Order, models.CASCADE)
    occurred = models.BigIntegerField()
    text = models.TextField()

    class Meta:
        db_table = "manager_order_line"


class Certificate(models.Model):
    """A certificate of the inventory, once for each SHA-256."""

    sha256 = models.TextField(unique=True)
    sha1 = models.TextField()
    serial = models.TextField()
    subject = models.TextField()
    subject_key = models.TextField()  # begins with the common name
    common_name = models.TextField()
    names = models.TextField()
    issuer = models.TextField()
    issuer_key = models.TextField()
    template = models.TextField()
    template_key = models.TextField()
    not_before = models.BigIntegerField()
    not_after = models.BigIntegerField()
    key_name = models.TextField()
    spki_sha256 = models.TextField()
    ski = models.TextField()
    aki = models.TextField()
    purposes = models.TextField()
    is_ca = models.BooleanField()
    managed = models.BooleanField()
    source = models.TextField()
    owner = models.TextField()
    owner_key = models.TextField()
    created = models.BigIntegerField()
    created_by = models.TextField()
    revoked = models.BigIntegerField(null=True)
    revoked_reason = models.TextField()
    superseded_by = models.BigIntegerField(null=True)
    service_id = models.BigIntegerField(null=True)
    order_id = models.BigIntegerField(null=True)
    domain = models.TextField()
    told_band = models.IntegerField(null=True)  # the narrowest expiry band that people were told of

    class Meta:
        db_table = "manager_certificate"
        indexes = (
            models.Index(fields=["not_after", "id"], name="manager_cert_not_after"),
            models.Index(fields=["subject_key", "id"], name="manager_cert_subject"),
            models.Index(fields=["issuer_key", "not_after", "id"], name="manager_cert_issuer"),
            models.Index(fields=["template_key", "not_after", "id"], name="manager_cert_template"),
            models.Index(fields=["owner_key", "not_after", "id"], name="manager_cert_owner"),
            models.Index(fields=["key_name", "not_after", "id"], name="manager_cert_key_name"),
            models.Index(fields=["source", "not_after", "id"], name="manager_cert_source"),
            models.Index(fields=["not_before", "id"], name="manager_cert_not_before"),
            models.Index(fields=["serial", "id"], name="manager_cert_serial"),
            models.Index(fields=["sha1"], name="manager_cert_sha1"),
            models.Index(fields=["spki_sha256"], name="manager_cert_spki"),
            models.Index(fields=["ski"], name="manager_cert_ski", condition=Q(is_ca=True)),
            models.Index(fields=["revoked"], name="manager_cert_revoked", condition=Q(revoked__isnull=False)),
            models.Index(
                fields=["superseded_by"], name="manager_cert_superseded", condition=Q(superseded_by__isnull=False)
            ),
            models.Index(  # counts of what is valid and counts, without a look at its rows
                fields=["not_after", "id"],
                name="manager_cert_current",
                condition=Q(revoked__isnull=True, superseded_by__isnull=True),
            ),
        )


class CertificateDer(models.Model):
    certificate = models.OneToOneField(Certificate, models.CASCADE, primary_key=True)
    der = models.BinaryField()

    class Meta:
        db_table = "manager_certificate_der"


class CertificateName(models.Model):
    """How a certificate can be found: its names, and the domains they end in."""

    name_key = models.TextField()
    certificate = models.ForeignKey(Certificate, models.CASCADE, db_index=False)

    class Meta:
        db_table = "manager_certificate_name"
        indexes = (
            models.Index(  # ordered by octets in both databases, for searches by how a name begins
                fields=["name_key", "certificate"],
                opclasses=["text_pattern_ops", "int8_ops"],
                name="manager_cert_name",
            ),
            models.Index(fields=["certificate", "name_key"], name="manager_cert_names"),
        )


class CertificateTag(models.Model):
    tag = models.TextField()
    tag_key = models.TextField()
    certificate = models.ForeignKey(Certificate, models.CASCADE, db_index=False)

    class Meta:
        db_table = "manager_certificate_tag"
        constraints = (models.UniqueConstraint(fields=["certificate", "tag_key"], name="manager_cert_tag_once"),)
        indexes = (models.Index(fields=["tag_key", "certificate"], name="manager_cert_tag"),)


class CertificateLine(models.Model):
    """A line of a certificate's history."""

    certificate = models.ForeignKey(Certificate, models.CASCADE)
    occurred = models.BigIntegerField()
    actor = models.TextField()
    text = models.TextField()

    class Meta:
        db_table = "manager_certificate_line"


class RenewalRule(models.Model):
    name = models.TextField()
    name_key = models.TextField(unique=True)
    fields = models.TextField()  # JSON
    enabled = models.BooleanField()
    last_run = models.BigIntegerField(null=True)
    ordered = models.BigIntegerField()
    failures = models.BigIntegerField()
    last_failure = models.TextField()
    created = models.BigIntegerField()

    class Meta:
        db_table = "manager_renewal_rule"


class Renewal(models.Model):
    """A certificate's renewal under way or done: at most one, so that none is ordered twice."""

    certificate = models.OneToOneField(Certificate, models.CASCADE, primary_key=True)
    rule_id = models.BigIntegerField(null=True)
    order_id = models.BigIntegerField(null=True)
    state = models.SmallIntegerField()  # renewal.RenewalState
    failures = models.IntegerField()
    next_try = models.BigIntegerField(null=True)
    message = models.TextField()
    changed = models.BigIntegerField()

    class Meta:
        db_table = "manager_renewal"
        indexes = (models.Index(fields=["order_id"], name="manager_renewal_order"),)


class Outgoing(models.Model):
    """An event for people that is not handed over yet: written with what it tells of."""

    identity = models.TextField(unique=True)
    kind = models.TextField()
    object = models.TextField()
    occurred = models.BigIntegerField()
    facts = models.TextField()  # JSON

    class Meta:
        db_table = "manager_outgoing"
