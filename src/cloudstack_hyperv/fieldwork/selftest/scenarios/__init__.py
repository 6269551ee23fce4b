"""The scenarios of a self-test, one module an area; `programme` puts them in order."""
