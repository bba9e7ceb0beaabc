"""Tests of the console. Django has to be configured before anything of it is imported."""

from certwright.server.django_settings import configure

configure()
