"""The extension door: what CloudStack 4.21 and later runs for hosts of hypervisor type External.

An action comes as `<executable> <action> <payload file> <seconds>` and ends with an exit status
and a text (`outcome`).  `executable` is that executable: it asks a running agent over a local
socket (`door`), which costs a few milliseconds, or starts this package to go straight to the host
that the payload names (`straight`).  Both end in `dispatch`, which runs one of `actions`.
"""
