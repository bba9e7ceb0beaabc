"""CAs elsewhere, and the CRLs that are copied of them."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('online_responder', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='CaElsewhere',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.TextField(unique=True)),
                ('certificate', models.BinaryField()),
                ('sources', models.TextField()),
            ],
            options={
                'db_table': 'online_responder_elsewhere',
            },
        ),
        migrations.CreateModel(
            name='CopiedCrl',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_delta', models.BooleanField()),
                ('number', models.TextField(null=True)),
                ('base_number', models.TextField(null=True)),
                ('this_update', models.BigIntegerField(null=True)),
                ('next_update', models.BigIntegerField(null=True)),
                ('next_publish', models.BigIntegerField(null=True)),
                ('entries', models.BigIntegerField()),
                ('size', models.BigIntegerField()),
                ('digest', models.TextField()),
                ('url', models.TextField()),
                ('taken_when', models.BigIntegerField(null=True)),
                ('tried_when', models.BigIntegerField()),
                ('error', models.TextField()),
                ('data', models.BinaryField(null=True)),
                ('ca', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='online_responder.caelsewhere')),
            ],
            options={
                'db_table': 'online_responder_crl',
                'constraints': [models.UniqueConstraint(fields=('ca', 'is_delta'), name='online_responder_one_crl_of_a_kind')],
            },
        ),
    ]
