"""What tags, limits and guards a NIC should have, as plain data computed from CloudStack's URIs."""
