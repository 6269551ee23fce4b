"""The emulated host's WS-Management server: HTTP, authentication, SOAP, enumerations, faults."""
