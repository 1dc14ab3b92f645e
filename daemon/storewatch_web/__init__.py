"""The face: HTTP and WebSocket for browsers and other machines. No privilege, no file system, no
database; every call carries its caller's token to the daemon, which judges it."""
