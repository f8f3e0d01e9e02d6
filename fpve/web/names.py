"""The names by which a gallery is called, as browsers write them."""

from __future__ import annotations

import ipaddress
import re
import socket

from fpve.web.settings import Settings

# What a server listens at that takes all addresses of its machine.
WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)
# A host as a browser has it in `Host` and `Origin`: an address of IPv6 in brackets, another one, or a name; and a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:]+))(?::[0-9]{0,5})?")
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class Names:
    """By which names a gallery may be called: by others it is not meant, but something that is bound to its address."""

    def __init__(self, settings: Settings) -> None:
        # Of what is no host the name is empty.
        self._allowed = {_plain(one) for one in settings.allowed_hosts} - {""}
        # Of an address of IPv6 without the interface, which no client says.
        listening = _plain(settings.host.partition("%")[0])
        self._names = {"localhost", listening, *self._allowed} - {""}
        self._takes_addresses = settings.host in WILDCARDS
        if self._takes_addresses:
            own = socket.gethostname().lower()
            # As it is called in its own network, too, and by multicast DNS.
            self._names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}

    def __call__(self, host: str) -> bool:
        """Whether a `Host` header, in small letters, is one of them, at any port."""
        name = _name_of(host)
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # No name was resolved that somebody could have bound to it.
        return address.is_loopback or self._takes_addresses

    def is_of_proxy(self, origin: str) -> bool:
        """Whether an `Origin`, in small letters, is that of a page which a proxy serves that is allowed by its name.

        The proxy may have TLS, of which this server knows nothing, and call this server by another name.
        """
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and _name_of(host) in self._allowed


def is_name(host: str) -> bool:
    """Whether a text is the name of a host, or its address, as `Names` compares it: without a scheme, or a port."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")) is not None
    except ValueError:
        return _NAME.fullmatch(host.lower()) is not None


def _name_of(host: str) -> str:
    """The name or address in a host that may have a port; empty where it is none."""
    found = _HOST.fullmatch(host)
    return "" if found is None else _plain(found[1] or found[2])


def _plain(host: str) -> str:
    """A name or address as all that are the same are written."""
    name = host.lower().removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name
