"""CRLs of partitions, and what servers know them again by."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('online_responder', '0002_cas_elsewhere'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='copiedcrl',
            name='online_responder_one_crl_of_a_kind',
        ),
        migrations.AddField(
            model_name='copiedcrl',
            name='absent_when',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='copiedcrl',
            name='etag',
            field=models.TextField(db_default=''),
        ),
        migrations.AddField(
            model_name='copiedcrl',
            name='modified',
            field=models.TextField(db_default=''),
        ),
        migrations.AddField(
            model_name='copiedcrl',
            name='partition',
            field=models.IntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='copiedcrl',
            name='points',
            field=models.TextField(db_default=''),
        ),
        migrations.AddConstraint(
            model_name='copiedcrl',
            constraint=models.UniqueConstraint(fields=('ca', 'partition', 'is_delta'), name='online_responder_one_crl_of_a_kind'),
        ),
    ]
