"""Prepare, then sign: the exact certificate first, the signature once. [MS-WCCE] 3.2.1.4.2.1.4.6.

`signing` is the room's door. `compiling` splices finished bytes and makes nearly every certificate; `builder` makes
the rest through another library, from its own reading of the template. Nothing here looks at a requester.
"""
