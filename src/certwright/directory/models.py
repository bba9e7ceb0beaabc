# mypy: disable-error-code="var-annotated"
"""Tables of the embedded directory, and what is kept here about templates of a domain. `store` alone reads and
writes them.

`*_key` columns hold a name as it is compared (NFC, casefolded); the name beside it is as it was written.
"""

from __future__ import annotations

from django.db import models


class Version(models.Model):
    """One row. Every change raises the number and holds the row's lock until its commit."""

    id = models.IntegerField(primary_key=True)
    version = models.BigIntegerField()

    class Meta:
        db_table = "directory_version"


class Domain(models.Model):
    """One row: the domain this directory speaks for."""

    id = models.IntegerField(primary_key=True)
    dns_name = models.TextField()
    netbios_name = models.TextField()
    sid = models.TextField()
    forest_arcs = models.TextField()  # the forest's part of template OIDs
    next_rid = models.BigIntegerField()

    class Meta:
        db_table = "directory_domain"


class Account(models.Model):
    """A user or computer. Accounts are disabled, never removed: a SID names one account for ever."""

    sid = models.TextField(primary_key=True)
    kind = models.TextField()  # user, computer
    name = models.TextField()  # sAMAccountName
    name_key = models.TextField(unique=True)
    common_name = models.TextField()
    guid = models.BinaryField()  # objectGUID, little-endian
    enabled = models.BooleanField()
    upn = models.TextField()
    mail = models.TextField()
    dns_host_name = models.TextField()
    additional_host_names = models.TextField()  # JSON list
    password = models.TextField()  # argon2id, encoded; empty: cannot log on
    ntlm = models.BooleanField()  # marked: an NT hash is kept
    nt_hash = models.BinaryField(null=True)  # sealed
    created = models.BigIntegerField()  # seconds since the epoch

    class Meta:
        db_table = "directory_account"


class Group(models.Model):
    """A group of the domain, or BUILTIN\\Administrators."""

    sid = models.TextField(primary_key=True)
    name = models.TextField()
    name_key = models.TextField(unique=True)
    guid = models.BinaryField()
    created = models.BigIntegerField()

    class Meta:
        db_table = "directory_group"


class Membership(models.Model):
    """An account or a group is directly in a group."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(Group, models.CASCADE, db_column="group_sid")
    member_sid = models.TextField()

    class Meta:
        db_table = "directory_membership"
        constraints = (models.UniqueConstraint(fields=["group", "member_sid"], name="directory_membership_once"),)


class Template(models.Model):
    """A certificate template as a JSON document."""

    cn_key = models.TextField(primary_key=True)
    oid = models.TextField(unique=True)
    document = models.TextField()  # adcs.template_json
    accepted_risks = models.TextField()  # JSON list of identifiers

    class Meta:
        db_table = "directory_template"


class DomainTemplate(models.Model):
    """What is kept here about a template of the Active Directory domain this installation belongs to."""

    cn_key = models.TextField(primary_key=True)
    domain_sid = models.TextField()
    oid = models.TextField()  # another template of the same name has another one
    accepted_risks = models.TextField()  # JSON list of identifiers
    name_rules = models.TextField(default="")  # adcs.template_json, as in a template's document; empty: none

    class Meta:
        db_table = "directory_domain_template"


class EnrollmentService(models.Model):
    """A CA as clients find it."""

    ca_key = models.TextField(primary_key=True)
    ca_name = models.TextField()
    dns_host_name = models.TextField()
    certificate = models.BinaryField()  # DER
    templates = models.TextField()  # JSON list of cn

    class Meta:
        db_table = "directory_enrollment_service"
