"""Where things are wired: the home folder, the listeners and their TLS, the worker, `init` and `run`.

Everything below takes values and objects; this room reads the configuration, builds the objects and hands them down.
`composition` is the picture of one installation, `running` the life of a process.
"""
