"""A system-call filter for this process and all that it starts: what no honest program of ours needs fails with EPERM.

It is a second wall behind the namespaces: kernel interfaces with a history of holes, and the ones whose memory no limit
counts (System V shared memory outlives its process). Sockets other than Unix ones are refused too.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from . import linux

# Numbers on x86-64 and on arm64 (the generic table); None where the call does not exist.
DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_secret": (447, 447),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
}
SOCKET = (41, 198)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, and the kernel's name of it
X32 = 0x40000000  # a second set of numbers on x86-64
AF_UNIX = 1
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data


def install() -> bool:
    """Installs the filter, for good. False on a machine that has no table here; the namespaces are the wall then."""
    column, machine = MACHINES.get(platform.machine(), (0, None))
    if machine is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    code = program(column, machine)
    steps = b"".join(struct.pack("HBBI", *step) for step in code)
    keep = ctypes.create_string_buffer(steps)
    header = ctypes.create_string_buffer(struct.pack("HL", len(code), ctypes.addressof(keep)))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.call("prctl", 22, 2, ctypes.addressof(header), 0, 0)
    return True


def program(column: int, machine: int) -> list[tuple[int, int, int, int]]:
    """The filter as (operation, steps to skip if true, if false, constant)."""
    numbers = [row[column] for row in DENIED.values() if row[column] is not None]
    code = [
        (LOAD, 0, 0, MACHINE),
        (EQUAL, 1, 0, machine),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, REFUSE),
    ]
    for index, number in enumerate(numbers):
        code.append((EQUAL, len(numbers) - 1 - index + 4, 0, number))
    code += [
        (EQUAL, 0, 2, SOCKET[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (EQUAL, 0, 1, AF_UNIX),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    return code
