"""Stops the server when its last user is gone. Run as a script, and apart from the package: it only needs Python.

    python watchdog.py DIRECTORY UID GID pg_ctl …

Every user holds users.lock shared until it ends, so getting it exclusively means that there is none. It is given
up again before start.lock is asked for, since a newcomer takes the two in the other order.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time

_STOP_SECONDS = 60


def watch(directory: str, stop: list[str], account: tuple[int, int] | None) -> None:
    """Waits, without polling, until nobody uses the server; then stops it."""
    mine = os.open(f"{directory}/watchdog.lock", os.O_RDONLY)
    if not _try_lock(mine):
        return
    users = os.open(f"{directory}/users.lock", os.O_RDONLY)
    start = os.open(f"{directory}/start.lock", os.O_RDONLY)
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        fcntl.flock(start, fcntl.LOCK_EX)
        if _try_lock(users):
            break
        fcntl.flock(start, fcntl.LOCK_UN)  # somebody came meanwhile
    _stop(os.open(f"{directory}/server.lock", os.O_RDONLY), stop, account)
    _remove_short_socket_folder(f"{directory}/socket")
    os.close(mine)  # before start.lock: who gets that must see that nobody watches any more


def _stop(server: int, stop: list[str], account: tuple[int, int] | None) -> None:
    """Again and again, since a server whose starter was killed may not be far enough to be stopped."""
    user, group = account or (None, None)
    deadline = time.monotonic() + _STOP_SECONDS
    while not _try_lock(server) and time.monotonic() < deadline:
        subprocess.run(  # noqa: S603  # pg_ctl, as our parent named it
            stop, check=False, user=user, group=group, extra_groups=None if account is None else []
        )
        time.sleep(0.05)


def _remove_short_socket_folder(link: str) -> None:
    if os.path.islink(link):  # noqa: PTH114
        shutil.rmtree(os.readlink(link), ignore_errors=True)  # noqa: PTH115
        os.unlink(link)  # noqa: PTH108


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    if os.fork():
        return  # whoever called us need not wait for the watch to end, nor reap us
    directory, uid, gid, *stop = sys.argv[1:]
    watch(directory, stop, (int(uid), int(gid)) if uid else None)


if __name__ == "__main__":
    main()
