"""Web Enrollment: the pages of /certsrv, for scripts and for people.

Scripts find every page, parameter and marker that they look for on Microsoft's site (`wire.certsrv`); people find
forms that explain themselves. Whatever is asked goes through the one door (`connectors.registry`) as the
authenticated caller; nothing is decided here.
"""
