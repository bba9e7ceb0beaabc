from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Challenge',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.BinaryField(unique=True)),
                ('template', models.TextField()),
                ('names', models.TextField()),
                ('issued_to', models.TextField()),
                ('created', models.BigIntegerField()),
                ('expires', models.BigIntegerField()),
                ('used', models.BigIntegerField(null=True)),
                ('used_by', models.TextField()),
            ],
            options={
                'db_table': 'ndes_challenge',
                'indexes': [models.Index(fields=['expires'], name='ndes_challenge_expires')],
            },
        ),
        migrations.CreateModel(
            name='Setting',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.TextField(unique=True)),
                ('value', models.TextField()),
            ],
            options={
                'db_table': 'ndes_setting',
            },
        ),
        migrations.CreateModel(
            name='Transaction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.TextField()),
                ('key_hash', models.BinaryField()),
                ('request_hash', models.BinaryField()),
                ('request_id', models.BigIntegerField(null=True)),
                ('state', models.SmallIntegerField()),
                ('template', models.TextField()),
                ('subject', models.TextField()),
                ('renewal', models.BooleanField()),
                ('peer', models.TextField()),
                ('message', models.TextField()),
                ('created', models.BigIntegerField()),
                ('changed', models.BigIntegerField()),
            ],
            options={
                'db_table': 'ndes_transaction',
                'indexes': [models.Index(fields=['changed'], name='ndes_transaction_changed')],
                'constraints': [models.UniqueConstraint(fields=('name', 'key_hash'), name='ndes_transaction_of_key')],
            },
        ),
    ]
