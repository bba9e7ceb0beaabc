"""An index of what was issued when, by template: counted without reading a row."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ca", "0003_life_of_a_ca")]

    operations = [
        migrations.AddIndex(
            "request",
            models.Index(
                condition=models.Q(state=20),
                fields=["ca_id", "resolved_when", "template", "state"],
                name="ca_request_issued",
            ),
        ),
    ]
