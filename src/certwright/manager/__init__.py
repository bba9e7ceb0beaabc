"""The manager: AD CS services and their accounts, orders, keys, the inventory and its renewal.

It orders from Microsoft's AD CS and from our own CA through the same door (`adcs.interfaces.CertRequest`) and cannot
tell which answers. `facade.Manager` puts the room together for pages, REST API and command line.
"""
