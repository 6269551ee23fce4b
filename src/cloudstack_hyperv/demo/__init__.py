"""The demonstration: a stock CloudStack 4.22 conversation with an emulated host, step by step."""
