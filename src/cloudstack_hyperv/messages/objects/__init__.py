"""Transfer objects: the structures that commands and answers carry, by subject."""
