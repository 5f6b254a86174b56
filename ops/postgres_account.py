"""Take an unprivileged identity, then become a PostgreSQL program: `… uid gid '["dir", …]' argv`.

PostgreSQL refuses to run as root. When the unprivileged user cannot enter one of the named
directories (a data directory under /root, a virtual environment nobody else may read), the
program keeps one capability as an ambient one: CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE where only
that is held or will do (capabilities(7)). The modes of parent directories are never changed. In
such a layout the server can read every file, so it is granted only when it is needed.

Standard library only, and run as a file by itself.
"""

import contextlib
import ctypes
import json
import os
import pwd
import sys

PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def unprivileged_account() -> tuple[int, int]:
    """(uid, gid) of `postgres`, else of `nobody`, else 65534, whose name initdb will miss."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            if account.pw_uid:
                return account.pw_uid, account.pw_gid
    return 65534, 65534


def _keep_capabilities(libc: ctypes.CDLL, capabilities: tuple[int, ...]) -> list[int]:
    """Reduce the sets to those of `capabilities` that are permitted; return them."""
    header = _CapabilityHeader(LINUX_CAPABILITY_VERSION_3, 0)
    # Version 3 has two 32-bit words; every capability used here is in the first.
    sets = (_CapabilitySets * 2)()
    libc.capget(ctypes.byref(header), ctypes.byref(sets))
    kept = [bit for bit in capabilities if sets[0].permitted >> bit & 1]
    mask = sum(1 << bit for bit in kept)
    sets[0] = _CapabilitySets(mask, mask, mask)
    sets[1] = _CapabilitySets(0, 0, 0)
    libc.capset(ctypes.byref(header), ctypes.byref(sets))
    return kept


def _grantable(libc: ctypes.CDLL) -> list[int]:
    """The capabilities to try, the lesser one first, made ready to be ambient ones."""
    _keep_capabilities(libc, (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE, CAP_SETPCAP))
    # PostgreSQL's programs look for each other with access(2), which ignores the capabilities of
    # a user other than root unless this bit is set.
    libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    return _keep_capabilities(libc, (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE))


def _run_if_reachable(directories: list[str], command: list[str]) -> None:
    if all(os.access(f"{directory}/.", os.X_OK) for directory in directories):
        with contextlib.suppress(PermissionError):
            os.execv(command[0], command)  # noqa: S606  (the program is one of the wheel's)


def become(uid: int, gid: int, directories: list[str], command: list[str]) -> None:
    """Replace this root process by `command` run as `uid`; raises OSError when that cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    linux = sys.platform == "linux"
    if linux:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)  # also empties the effective set: what follows is tried without any privilege
    _run_if_reachable(directories, command)
    for capability in _grantable(libc) if linux else []:
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
        _run_if_reachable(directories, command)
    raise PermissionError(
        f"uid {uid} cannot enter {' or '.join(directories)}, and this process holds no capability "
        "to let it. Run as a user other than root, or choose a data directory and an installation "
        "below directories that everybody may enter."
    )


def main() -> None:
    """Run the command line described at the top; on failure one sentence on stderr, exit 1."""
    uid, gid, directories, *command = sys.argv[1:]
    try:
        become(int(uid), int(gid), json.loads(directories), command)
    except OSError as failure:
        sys.exit(f"Cannot run PostgreSQL as uid {uid}: {failure}")


if __name__ == "__main__":
    main()
