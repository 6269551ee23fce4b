"""How bytes of disks get from store to store, and the files of a host behind one interface."""
