"""The coverage of this session, None where it does not run under coverage."""

from coverage import Coverage

METER = Coverage.current()
