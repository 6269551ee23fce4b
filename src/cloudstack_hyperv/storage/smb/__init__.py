"""Files of a Hyper-V host, and of other SMB servers, over SMB 3.

smbprotocol brings the messages, the login and the keys; this package adds what it leaves to its
callers: deadlines, strict checks of signatures and encryption, credits and pipelining, reconnecting
and errors that name path and reason.  Server, login and share of a path come from `routes`; what
`HostFiles` asks for is in `files`; bulk copies use `pipeline` from a process of their own.
"""

import logging

# Its debug lines carry login tokens and the contents of files, and every error that it logs also
# reaches us as an exception, which is told once and with the path.
logging.getLogger("smbprotocol").setLevel(logging.CRITICAL + 1)
