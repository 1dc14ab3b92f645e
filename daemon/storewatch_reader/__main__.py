"""The reader's command line: the only place from which its roots come."""

import argparse
import os
import pwd
import signal
import socket
import stat
import sys

from storewatch_reader.roots import CONSUMING, IDLE, PASSIVE, TOOLS, Roots
from storewatch_reader.server import Server
from storewatch_reader.watches import Watches
from storewatch_reader.workers import Pool


def main() -> int:
    """Run the reader; return its exit status."""
    parser = argparse.ArgumentParser(prog="storewatch-reader")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", metavar="PATH", help="listen here")
    where.add_argument("--fd", type=int, metavar="N", help="serve this connected socket only")
    where.add_argument("--activated", action="store_true", help="listen on what systemd passed")
    parser.add_argument("--lock-directory", required=True, metavar="DIR")
    parser.add_argument("--allow-uid", type=int, action="append", default=[], metavar="UID")
    parser.add_argument("--allow-user", action="append", default=[], metavar="NAME")
    parser.add_argument("--sysfs", default="/sys", metavar="DIR")
    parser.add_argument("--procfs", default="/proc", metavar="DIR")
    parser.add_argument("--dev", default="/dev", metavar="DIR")
    parser.add_argument("--etc", default="/etc", metavar="DIR")
    parser.add_argument("--boot", default="/boot", metavar="DIR")
    parser.add_argument("--modules", default="/lib/modules", metavar="DIR")
    parser.add_argument("--run", default="/run", metavar="DIR")
    parser.add_argument("--tool-path", default=TOOLS, metavar="DIR:DIR", help="where tools are")
    parser.add_argument(
        "--tool-env", action="append", default=[], metavar="NAME=VALUE", help="for tools"
    )
    parser.add_argument(
        "--tapealert-broker",
        action="store_true",
        help="log page 2Eh may be read when somebody asks for TapeAlert flags, which clears them",
    )
    words = parser.parse_args()
    try:
        os.makedirs(words.lock_directory, mode=0o700, exist_ok=True)
        listener = only = None
        if words.fd is not None:
            only = socket.socket(fileno=words.fd)
        elif words.activated:
            listener = _activated()
        else:
            listener = _listen(words.socket)
        allowed = [*words.allow_uid, *(_uid(name) for name in words.allow_user)]
    except (OSError, ValueError) as error:
        sys.stderr.write(f"storewatch-reader: {error}\n")
        return 1
    classes = {PASSIVE, IDLE, *((CONSUMING,) if words.tapealert_broker else ())}
    roots = Roots(
        words.sysfs,
        words.procfs,
        words.dev,
        path=words.tool_path,
        environ=dict(one.split("=", 1) for one in words.tool_env),
        allowed=frozenset(classes),
        etc=words.etc,
        boot=words.boot,
        modules=words.modules,
        run=words.run,
    )
    pool = Pool(roots, words.lock_directory)
    watches = Watches(roots, words.lock_directory)
    server = Server(pool, listener=listener, only=only, allowed_uids=allowed, watches=watches)
    # The wake-up descriptor makes a signal end the select.
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    signal.set_wakeup_fd(wake_write.fileno())
    server.wake_on(wake_read)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    server.run()
    return 0


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)
    try:
        listener.bind(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    os.chmod(path, 0o666)  # every peer is judged by its uid
    listener.listen(8)
    return listener


def _activated() -> socket.socket:
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise ValueError("systemd passed no socket, or several")
    return socket.socket(fileno=3)


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {name!r}") from None


if __name__ == "__main__":
    sys.exit(main())
