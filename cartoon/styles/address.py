"""Which addresses a download may connect to, and a transport that connects to no other.

A name is resolved once for each connection, all of its addresses are checked, and the connection goes to the very
address that was checked: a name that changes its mind in between (DNS rebinding) gains nothing.
"""

import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Final

import httpx

from cartoon.errors import StyleError

Resolve = Callable[[str, int], list[str]]
"""(host, port) -> its addresses, the best first; raises OSError for a name that is not known."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses as networks without IPv4 see them (RFC 6052): the last 32 bits count."""
_NAT64_LOCAL: Final = ipaddress.ip_network("64:ff9b:1::/48")
"""The same for a network's own use (RFC 8215): it may stand for anything."""


class Unreachable(Exception):
    """No connection to a host: no network, no such name, nobody answers."""


class Checked(httpx.BaseTransport):
    """Sends requests over https to public addresses, and to nothing else.

    local: "HOST:PORT", the one place that may be plain http on this machine, as tests need it. trust: certificates to
    believe; None: those that httpx believes. Proxies of the environment are not used: what they connect to nobody here
    could check.
    """

    def __init__(self, resolve: Resolve, local: str, trust: ssl.SSLContext | None) -> None:
        self._resolve, self._local = resolve, local
        # No connection is kept: one made for a name must not serve another name at the same address.
        self._inner = httpx.HTTPTransport(verify=trust or True, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send to the first address of the host that answers.

        Raises StyleError for what may not be reached, Unreachable where nobody answers, httpx.TransportError after.
        """
        host = request.url.host
        failed: Exception | None = None
        for address in self._addresses(request.url):
            there = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # the Host among them is still the name
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._inner.handle_request(there)
            except (httpx.ConnectError, httpx.ConnectTimeout) as problem:
                if _is_untrusted(problem):
                    raise StyleError(
                        f"{host} does not prove that it is {host} ({problem}): check this machine's clock and network."
                    ) from problem
                failed = problem
        raise Unreachable(host) from failed

    def close(self) -> None:
        """Close every connection."""
        self._inner.close()

    def _addresses(self, url: httpx.URL) -> list[str]:
        if self._local and url.scheme == "http" and f"{url.host}:{url.port}" == self._local:
            return [url.host]
        if url.scheme != "https" or not url.host:
            raise StyleError(f"{_shown(url)} is not fetched, as it is not https: check the address.")
        try:
            found = self._resolve(url.host, url.port or 443)
        except (OSError, UnicodeError) as problem:  # UnicodeError: no name at all
            raise Unreachable(url.host) from problem
        if not all(is_public(address) for address in found):
            raise StyleError(
                f"{url.host} is not fetched from, as it stands for an address inside a network: check the address."
            )
        return list(dict.fromkeys(found))


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, also where it wraps one of the older kind."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        # Tunnels are long dead, and lead to whatever address they wrap.
        if ip in _NAT64_LOCAL or ip.sixtofour is not None or ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def resolve(host: str, port: int) -> list[str]:
    """The system's answer."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _is_untrusted(problem: BaseException | None) -> bool:
    """Whether a connection failed because the other side could not prove who it is."""
    while problem is not None:
        if isinstance(problem, ssl.SSLCertVerificationError):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _shown(url: httpx.URL) -> str:
    """An address as a message may show it: without what follows the path, which may hold keys."""
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]}{url.path}"[:200]
