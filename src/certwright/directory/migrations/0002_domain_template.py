from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('directory', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='DomainTemplate',
            fields=[
                ('cn_key', models.TextField(primary_key=True, serialize=False)),
                ('domain_sid', models.TextField()),
                ('oid', models.TextField()),
                ('accepted_risks', models.TextField()),
            ],
            options={
                'db_table': 'directory_domain_template',
            },
        ),
    ]
