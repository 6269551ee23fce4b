"""WS-Management without a socket: envelopes, CIM-XML, WQL text, faults, sealing."""
