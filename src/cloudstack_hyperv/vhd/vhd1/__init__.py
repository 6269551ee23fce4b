"""The VHD format, after Microsoft's "Virtual Hard Disk Image Format Specification" 1.0 (2006)."""
