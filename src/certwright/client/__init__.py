"""This host as a client of an enrollment service: its certificates, had and renewed by themselves.

Behind `certwright enroll`, `certwright renew` and certmonger's helper. Needs no home folder and no CA of its own.
"""
