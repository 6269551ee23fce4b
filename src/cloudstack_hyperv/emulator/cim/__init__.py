"""Generic CIM of the emulated host: schema, repository of providers, WQL, associations."""
