"""How every published file stands at each target."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ca", "0006_failed_by_template")]

    operations = [
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("ca_id", models.BigIntegerField()),
                ("target", models.TextField()),
                ("file", models.TextField()),
                ("number", models.BigIntegerField(null=True)),
                ("delivered_when", models.BigIntegerField(null=True)),
                ("tried_when", models.BigIntegerField()),
                ("error", models.TextField()),
            ],
            options={
                "db_table": "ca_delivery",
                "constraints": [
                    models.UniqueConstraint(fields=("ca_id", "target", "file"), name="ca_delivery_of_file"),
                ],
            },
        ),
    ]
