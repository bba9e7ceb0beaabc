"""What the enrollment web services have in common: SOAP over HTTPS, and the three ways to log on to them.

`wire.soap` reads and writes envelopes; here one travels as an HTTP exchange, and its sender becomes a `Requester`.
"""
