"""Network Device Enrollment Service: SCEP for routers, phones and whatever else has no account. RFC 8894.

A registration authority before the CA: it reads messages with keys of its own, checks challenges, and asks the CA as
its own account, through the same door as everybody.
"""
