"""Apache CloudStack's Hyper-V agent: CloudStack's commands in, WMI over WS-Management out."""

__version__ = "0.1.0"
