"""The emulated host's WS-Management server: HTTP, authentication, SOAP, enumerations, faults.

From the socket inwards, each layer knowing only the next: `server` (listeners) > `connection`
(HTTP) > `authentication`, `sealing` (who is it) > `service` (one envelope in, one out) >
`soap` (reading), `transfer`, `enumeration`, `invoke` (operations over `emulator.cim.engine`) >
`parameters`, `references`, `cimxml`, `filters` (what clients send), `instances`, `answers`,
`faults` (what the host sends).  `settings` is what an administrator can set, `calls` records every
call and lets faults happen on purpose, `leniencies` is the table of everything that is accepted
although good order would refuse it.
"""
