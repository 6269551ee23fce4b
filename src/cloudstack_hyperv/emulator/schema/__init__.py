"""Class definitions of the emulated host, as MOF text that a person can read and correct."""
