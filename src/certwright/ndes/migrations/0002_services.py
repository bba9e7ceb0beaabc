"""Several services, and the messages that were refused."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ndes", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Service",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField(unique=True)),
                ("created", models.BigIntegerField()),
            ],
            options={"db_table": "ndes_service"},
        ),
        migrations.CreateModel(
            name="Failure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("service", models.TextField()),
                ("occurred", models.BigIntegerField()),
                ("rule", models.TextField()),
                ("reason", models.TextField()),
                ("fail_info", models.TextField()),
                ("transaction_name", models.TextField()),
                ("signer", models.TextField()),
                ("peer", models.TextField()),
                ("message", models.BinaryField()),
            ],
            options={"db_table": "ndes_failure"},
        ),
        migrations.AddField("setting", "service", models.TextField(default=""), preserve_default=False),
        migrations.AlterField("setting", "name", models.TextField()),
        migrations.AddConstraint(
            "setting", models.UniqueConstraint(fields=("service", "name"), name="ndes_setting_of_service")
        ),
        migrations.AddField("challenge", "service", models.TextField(default=""), preserve_default=False),
        migrations.AddField("transaction", "service", models.TextField(default=""), preserve_default=False),
        migrations.RemoveConstraint("transaction", "ndes_transaction_of_key"),
        migrations.AddConstraint(
            "transaction",
            models.UniqueConstraint(fields=("service", "name", "key_hash"), name="ndes_transaction_of_device"),
        ),
    ]
