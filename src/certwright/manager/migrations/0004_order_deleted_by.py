"""Who removed the record of an order, while it can be brought back: requesters bring back what they removed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("manager", "0003_service_via")]

    operations = [
        migrations.AddField(
            model_name="order",
            name="deleted_by",
            field=models.TextField(db_default=""),
        ),
    ]
