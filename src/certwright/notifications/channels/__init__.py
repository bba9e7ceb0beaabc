"""The channels: one file each, all with the shape of `base.Sender`."""
