"""Virtual tape libraries: the same libraries and drives as physical ones, and what keeps them up.

Each device is up where three things agree: its daemon runs, the kernel has its SCSI device, and it
answers. Any of them fails alone. Joined with what is known of tapes by serial number.
"""
