# SPDX-License-Identifier: Apache-2.0
"""Which ROS domain a demo uses, and that no other demo of this machine uses it at the same time.

The graph alone cannot tell: two demos that start together would not see each other yet.
"""
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import os
import socket
import struct
import sys

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.whole_number import whole_number

HIGHEST = 232  # what the port numbers of DDS allow
FREE = range(1, 102)  # above, ports may be taken by any connection of the machine
PARTICIPANTS = 32  # so many processes of a domain are looked for
NAME = '\0vla_pruner_ros/demo/domain/{}'  # abstract socket: gone with its process, no file


def domain_of(option: int | None, environ: Mapping[str, str]) -> int | None:
    """The domain that the user chose: ``--domain``, else ``ROS_DOMAIN_ID``, else None.

    Raises:
        ConfigError: it is no domain.
    """
    if option is not None:
        name, text = '--domain', str(option)
    else:
        name, text = 'ROS_DOMAIN_ID', environ.get('ROS_DOMAIN_ID', '').strip()
    if not text:
        return None
    number = whole_number(text)
    if number is None or number > HIGHEST:
        raise ConfigError(f'{name} is {text}; accepted: 0 to {HIGHEST}')
    return number


@contextmanager
def claimed(wanted: int | None) -> Iterator[int]:
    """Give the domain that the user chose, or a free one; no other demo gets it meanwhile.

    Args:
        wanted: as of ``domain_of``.

    Raises:
        ConfigError: another demo uses it, or no domain is free.
    """
    if not sys.platform.startswith('linux'):  # no abstract sockets
        yield wanted if wanted is not None else 1 + os.getpid() % len(FREE)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        if wanted is not None:
            if not _claim(claim, wanted):
                raise ConfigError(
                    f'another demo{_holder(wanted)} runs in ROS domain {wanted}; wait for its '
                    f'end, or choose another domain with --domain, {FREE[0]} to {FREE[-1]}')
            yield wanted
            return
        for step in FREE:
            domain = FREE[(os.getpid() + step) % len(FREE)]
            if not in_use(domain) and _claim(claim, domain):
                yield domain
                return
    raise ConfigError(f'none of the ROS domains {FREE[0]} to {FREE[-1]} is free; name one with '
                      '--domain')


def in_use(domain: int) -> bool:
    """Whether a process of this machine listens on the ports of a domain.

    Known at once, whereas its nodes take seconds to show in the graph.
    """
    first = 7410 + 250 * domain
    for port in range(first, first + 2 * PARTICIPANTS, 2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', port))
            except OSError:
                return True
    return False


def _claim(claim: socket.socket, domain: int) -> bool:
    try:
        claim.bind(NAME.format(domain))
    except OSError:
        return False
    claim.listen(1)
    return True


def _holder(domain: int) -> str:
    """``' (pid 123)'`` of the demo that has a domain, or nothing where it cannot be told."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ask:
            ask.settimeout(1.0)
            ask.connect(NAME.format(domain))
            found = ask.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize('3i'))
    except OSError:
        return ''
    pid = struct.unpack('3i', found)[0]
    return f' (pid {pid})' if pid else ''
