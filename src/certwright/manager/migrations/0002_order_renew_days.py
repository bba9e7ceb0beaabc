"""How many days before expiry the certificate of an order is renewed; 0: by no rule of its own."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("manager", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="order",
            name="renew_days",
            field=models.IntegerField(default=0),
        ),
    ]
