from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('directory', '0002_domain_template'),
    ]

    operations = [
        migrations.AddField(
            model_name='domaintemplate',
            name='name_rules',
            field=models.TextField(default=''),
        ),
    ]
