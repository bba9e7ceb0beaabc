"""Who is on the other end of this connection: Basic, NTLM and Negotiate over HTTP. RFC 9110 11, RFC 4559, [MS-NTHT].

Bytes of one header and the connection they came on go in, a `Requester` or a challenge comes out (`http`). Identity
lives on the connection object and dies with it; nothing is ever found by address and port. The room knows
`directory.base` only, no web framework, and no file or variable where accounts might lie.
"""
