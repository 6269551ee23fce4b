"""The direct door: HTTPS POST of one JSON command, as HypervDirectConnectResource sends it."""
