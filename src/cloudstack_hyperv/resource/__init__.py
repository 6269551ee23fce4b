"""Which operation each command means, in which order, and what to answer."""
