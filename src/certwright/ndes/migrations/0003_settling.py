"""Whose a request under way is, and notices of policy modules that are kept until they are taken."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("ndes", "0002_services")]

    operations = [
        migrations.AddField("transaction", "owner", models.TextField(default=""), preserve_default=False),
        migrations.AddIndex(
            "transaction", models.Index(fields=["created"], name="ndes_transaction_under_way", condition=Q(state=0))
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("service", models.TextField()),
                ("transaction_name", models.TextField()),
                ("disposition", models.TextField()),
                ("body", models.TextField()),
                ("state", models.SmallIntegerField()),
                ("attempts", models.IntegerField()),
                ("next_try", models.BigIntegerField(null=True)),
                ("result", models.TextField()),
                ("created", models.BigIntegerField()),
                ("settled", models.BigIntegerField(null=True)),
            ],
            options={
                "db_table": "ndes_notice",
                "indexes": [
                    models.Index(
                        fields=["service", "id"], name="ndes_notice_waiting", condition=Q(next_try__isnull=False)
                    ),
                    models.Index(fields=["settled"], name="ndes_notice_settled", condition=Q(settled__isnull=False)),
                ],
            },
        ),
    ]
