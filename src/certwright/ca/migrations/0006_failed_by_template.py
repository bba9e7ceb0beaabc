"""An index of what failed when, by template: counted without reading a row."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ca", "0005_crl_partitions")]

    operations = [
        migrations.AddIndex(
            "request",
            models.Index(
                condition=models.Q(state__gte=30),
                fields=["ca_id", "resolved_when", "template", "state"],
                name="ca_request_failed_when",
            ),
        ),
    ]
