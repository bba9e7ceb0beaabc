"""The waist: every CA this installation knows, behind the one door.

Role services and the manager ask `registry.Registry` for a `CertRequest` bound to a caller and cannot tell which kind
of CA answers. `local` reaches our own CA; connectors to other AD CS installations stand beside it.
"""
