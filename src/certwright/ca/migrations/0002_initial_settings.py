"""A CA remembers the settings it was made with, so that one can be taken back to them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ca", "0001_initial")]

    operations = [
        migrations.AddField("certificationauthority", "initial_settings", models.TextField(default="{}")),
        # Of a CA that is there already nobody knows any more: what it has now is the best that can be kept.
        migrations.RunSQL("UPDATE ca SET initial_settings = settings", migrations.RunSQL.noop),
    ]
