"""Requests of CAs to other CAs, what belongs to their certificates, and indexes that delta CRLs are made by."""

import certwright.ca.models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ca", "0002_initial_settings")]

    operations = [
        migrations.CreateModel(
            name="CertificateRequest",
            fields=[
                ("ca_id", certwright.ca.models.RowKey(primary_key=True, serialize=False)),
                ("key_name", models.TextField()),
                ("request", models.BinaryField()),
                ("made_when", models.BigIntegerField()),
            ],
            options={"db_table": "ca_certificate_request"},
        ),
        migrations.CreateModel(
            name="CompanionCertificate",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("ca_id", models.BigIntegerField()),
                ("certificate_index", models.IntegerField()),
                ("role", models.TextField()),
                ("position", models.IntegerField()),
                ("der", models.BinaryField()),
            ],
            options={"db_table": "ca_companion_certificate"},
        ),
        migrations.AddConstraint(
            "companioncertificate",
            models.UniqueConstraint(
                fields=("ca_id", "certificate_index", "role", "position"), name="ca_companion_certificate_place"
            ),
        ),
        migrations.AddIndex(
            "certificate",
            models.Index(
                condition=models.Q(released_when__isnull=False),
                fields=["ca_id", "released_when"],
                name="ca_certificate_released",
            ),
        ),
        migrations.AddIndex(
            "revocation", models.Index(fields=["ca_id", "effective"], name="ca_revocation_effective")
        ),
    ]
