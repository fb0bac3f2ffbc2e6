"""The two pages in the browser: `recognition` shows what a recogniser makes of recordings, `labels` is for labelling by ear.

What they show and keep is made elsewhere, without a browser: `judging` (what one recording is taken for, alone and over time),
`archives` (zip files that may be hostile), `pictures`, and `emoviews.labelling`. Nothing is loaded from or sent to
another machine.
"""

from __future__ import annotations

import importlib
import ipaddress
import socket

from emoviews.errors import MissingExtraError, UsageError


def require(package: str) -> None:
    """Say how to install what the pages need.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError("The page in the browser", package=package, extra="app") from error


def is_local(host: str) -> bool:
    """Whether an address is reached from this computer alone.

    >>> is_local("localhost"), is_local("127.0.0.1"), is_local("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts(host: str) -> list[str]:
    """The names by which a page may be asked for: another web site's name that leads here must not open it.

    >>> hosts("127.0.0.1"), hosts("0.0.0.0")
    (['localhost', '127.0.0.1', '[::1]'], ['*'])
    """
    if not is_local(host):
        return ["*"]
    own = f"[{ipaddress.ip_address(host)}]" if ":" in host else host  # as browsers spell it
    return list(dict.fromkeys(["localhost", "127.0.0.1", "[::1]", own]))


def address(host: str, port: int) -> str:
    """What a browser is given.

    >>> address("::1", 7860)
    'http://[::1]:7860/'
    """
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free.

    Raises:
        UsageError: the port is taken, or this computer has no such address.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise UsageError(
            f"Can't open a page at {host}:{port} ({error}). Name another port (--port 0 takes any that is free) or address "
            "(--host)."
        ) from error
    return listening
