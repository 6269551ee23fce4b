"""A recording's requests played to a host, and its answers compared with the recorded ones."""
