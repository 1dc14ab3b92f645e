"""JSON-RPC error codes: the specification's own, and ours from -32001 down."""

from enum import IntEnum


class Code(IntEnum):
    """What went wrong with a call."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    UNAUTHENTICATED = -32001
    FORBIDDEN = -32003
    NOT_FOUND = -32004
    CONFLICT = -32009
    UNAVAILABLE = -32010
    LIMIT_REACHED = -32012
