"""Where private keys live: sealed files on this host, and the interface that a hardware module fits.

`base` is the interface, `software` the sealed files, `sealing` the encryption at rest that other rooms use too.
"""
