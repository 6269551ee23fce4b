"""The agent as a service of its machine: systemd on Linux, the service manager on Windows.

`notify` tells systemd how the agent is, `units` has the files that make it a service, `installing`
puts them into place, `windows_service` is what the Windows service manager starts.
"""
