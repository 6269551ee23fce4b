"""How CIM requests travel to a Windows host: WS-Management, sealed, over a pool of connections."""
