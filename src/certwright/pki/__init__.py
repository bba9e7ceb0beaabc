"""Encodings: X.509, CRL, PKCS#10, CMS, names, and every OID. Floor 1: knows bytes, no requesters, no files, no clock.

`der` is the codec, each other file is one syntax. Everything that cannot be read raises `errors.EncodingError`.
"""
