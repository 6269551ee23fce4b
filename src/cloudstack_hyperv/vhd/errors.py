"""What can be wrong with a virtual disk file.

Files come from users (templates) and from crashed copies, so every defect found while reading one
must reach the caller as one of these and nothing else: a caller that catches `VhdError` has
handled every bad file. Errors of the medium (`OSError` of the underlying file) are not wrapped.
"""


class VhdError(Exception):
    """Any reason why a virtual disk file cannot be read, made or changed as asked."""


class NotADiskError(VhdError):
    """The file carries the signature of neither VHDX nor VHD."""


class CorruptDiskError(VhdError):
    """The file breaks a rule of its format: a checksum, a bound, an overlap, a reserved value."""


class UnsupportedDiskError(VhdError):
    """The file is well formed but needs something this package does not know."""


class DiskParameterError(VhdError):
    """The caller asked for a disk that the format cannot describe (size, block size, sector)."""


class DiskRangeError(VhdError):
    """An access outside the virtual disk."""


class ReadOnlyDiskError(VhdError):
    """A write to a disk that was opened for reading."""


class ParentNotFoundError(VhdError):
    """A differencing disk was opened without its parent, and the operation needs it."""


class ParentMismatchError(VhdError):
    """The file offered as parent is not the one that the differencing disk was made from."""


class DiskShrinkError(VhdError):
    """Shrinking below the smallest size at which no data of the guest is cut off."""
