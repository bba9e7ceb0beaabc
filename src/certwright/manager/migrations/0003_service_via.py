"""How a service's CA is reached: by its enrollment web services, its pages, or whichever there is.

Services that are there go on as they were.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("manager", "0002_order_renew_days")]

    operations = [
        migrations.AddField(
            model_name="service",
            name="via",
            field=models.TextField(default="certsrv"),
        ),
    ]
