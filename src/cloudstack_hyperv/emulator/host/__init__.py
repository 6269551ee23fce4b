"""Hyper-V's behaviour: machines, devices, jobs, switches, disks, and the Windows around them."""
