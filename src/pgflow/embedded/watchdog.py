"""Stops the server when its last user is gone. Run as a script, and apart from the package: it only needs Python.

    python watchdog.py DIRECTORY UID GID SOCKET_FOLDER pg_ctl …

Every user holds users.lock shared until it ends, so getting it exclusively means that there is none. It is given
up again before start.lock is asked for, since a newcomer takes the two in the other order.
"""

import fcntl
import os
import subprocess
import sys


def watch(directory: str, stop: list[str], account: tuple[int, int] | None) -> None:
    """Waits, without polling, until nobody uses the server; then stops it."""
    mine = os.open(f"{directory}/watchdog.lock", os.O_RDONLY)
    try:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    users = os.open(f"{directory}/users.lock", os.O_RDONLY)
    start = os.open(f"{directory}/start.lock", os.O_RDONLY)
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        fcntl.flock(start, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(start, fcntl.LOCK_UN)  # somebody came meanwhile
            continue
        user, group = account or (None, None)
        subprocess.run(  # noqa: S603  # pg_ctl, as our parent named it
            stop, check=False, user=user, group=group, extra_groups=None if account is None else []
        )
        return


def main() -> None:
    if os.fork():
        return  # whoever called us need not wait for the watch to end, nor reap us
    directory, uid, gid, socket_folder, *stop = sys.argv[1:]
    account = (int(uid), int(gid)) if uid else None
    watch(directory, stop, account)
    if not socket_folder.startswith(directory):
        # the short one in the temporary directory; still in use if another watchdog took over
        try:
            os.rmdir(socket_folder)  # noqa: PTH106
        except OSError:
            return


if __name__ == "__main__":
    main()
