"""Tape libraries and drives: found in sysfs, told apart by their serial numbers.

Each is looked at twice: passively, all the time, and by commands while nobody uses it. A drive that
is busy all night is not failed: what was known of it holds.
"""
