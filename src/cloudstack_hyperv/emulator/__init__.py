"""An emulated Hyper-V host: WS-Management, Msvm_ classes, jobs and disks, as strict as Windows.

It shares plain data (`cim`, `vhd`) with the agent it judges and nothing else: it parses and writes
its own messages.  `door` is the WS-Management server, `cim` the class schema and query engine,
`schema` the class definitions, `host` Hyper-V's behaviour.
"""
