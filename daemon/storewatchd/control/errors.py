"""One table from what the daemon raises to the code that a caller gets."""

from storewatch.wire import Code
from storewatchd.errors import (
    Conflict,
    Forbidden,
    InvalidParams,
    LimitReached,
    NotFound,
    RequestError,
    Unauthenticated,
    Unavailable,
)

CODES: dict[type[RequestError], Code] = {
    InvalidParams: Code.INVALID_PARAMS,
    NotFound: Code.NOT_FOUND,
    Conflict: Code.CONFLICT,
    Forbidden: Code.FORBIDDEN,
    Unauthenticated: Code.UNAUTHENTICATED,
    Unavailable: Code.UNAVAILABLE,
    LimitReached: Code.LIMIT_REACHED,
}
