"""The connected door: the agent dials the management server, as CloudStack's KVM agent does."""
