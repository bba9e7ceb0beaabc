"""Messages of every protocol, both directions: frozen values with `parse` and `encode`, bounded, no I/O."""
