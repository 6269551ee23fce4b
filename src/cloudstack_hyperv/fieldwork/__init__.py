"""Ground truth from the field: what a real Hyper-V host does, against what we believe it does.

`selftest` plays the product's own operations on a host, in a folder and on a switch that it makes
and removes; `recording` keeps every WS-Man exchange of it in one file without names and secrets;
`comparison` plays such a file's requests to another host, an emulated one, and says where the
answers differ.
"""
