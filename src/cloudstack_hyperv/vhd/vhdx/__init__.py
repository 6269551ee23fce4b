"""The VHDX format, after [MS-VHDX] v20240423."""
