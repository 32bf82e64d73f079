"""Which names this server answers to, and which pages may talk to it. Pure functions over what a request says.

A page that a stranger's site serves runs in a visitor's browser, which reaches servers of this machine that the site
itself cannot. Three checks keep it out: the Host header, against names that were pointed at this machine (DNS
rebinding); Origin, against requests that pages elsewhere send; and Fetch Metadata (W3C), which also tells requests that
carry no Origin.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN: Final = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site: a page of ours, and an address that a person typed."""


class Hosts:
    """The names of a server. listed: `name` or `name:port` beside loopback names and IP addresses.

    framed: whether pages elsewhere may show ours in a frame (which ones, the browser is told by a header).
    """

    def __init__(self, listed: Sequence[str], framed: bool = False) -> None:
        self._listed = frozenset(_lower(name) for name in listed)
        self._framed = framed

    def refusal(self, method: str, scheme: str, headers: Mapping[str, str], any_name: bool = False) -> str:
        """Why a request is refused, as a sentence for whoever runs the server; "" where it is welcome.

        headers: by their names in lower case. any_name: whatever name the server is asked by, as for what everybody may
        know; pages of other sites are refused all the same.
        """
        host = headers.get("host", "")
        if not any_name and (refusal := self._name_refusal(scheme, host)):
            return refusal
        origin = headers.get("origin")
        if origin is not None and not self._is_ours(origin, host, scheme):
            return (
                "Pages of other sites may not use this server; where a proxy hides its name, start it with"
                " --allowed-host NAME (CARTOON_ALLOWED_HOSTS)."
            )
        if headers.get("sec-fetch-site", "none") not in OWN and not self._is_visit(method, headers):
            return "Pages of other sites may not use this server: open its own page."
        return ""

    def _name_refusal(self, scheme: str, host: str) -> str:
        name, port = _parts(host)
        if not name:
            return "This request names no host: send a Host header."
        if _is_local(name) or name in self._listed or f"{name}:{port or DEFAULT_PORTS.get(scheme)}" in self._listed:
            return ""
        return (
            f"This server does not answer to the name {_shown(name)}: open it by its IP address or as localhost, or"
            f" start it with --allowed-host {_shown(name)} (CARTOON_ALLOWED_HOSTS)."
        )

    def own_page(self, scheme: str, headers: Mapping[str, str]) -> bool:
        """Whether the request says that a page of this server has sent it."""
        origin = headers.get("origin")
        return origin is not None and self._is_ours(origin, headers.get("host", ""), scheme)

    def _is_ours(self, origin: str, host: str, scheme: str) -> bool:
        try:
            told = urlsplit(origin)
            name, port = _lower(told.hostname or ""), told.port
        except ValueError:
            return False
        if told.scheme not in DEFAULT_PORTS or not name:
            return False  # "null" too: a sandboxed frame, a file
        usual = DEFAULT_PORTS[told.scheme]
        if f"{name}:{port or usual}" in self._listed or (name in self._listed and port in (None, usual)):
            return True
        # A proxy that ends TLS leaves the scheme behind: without a port in Host, either scheme's is meant.
        asked, at = _parts(host)
        return name == asked and (port or usual) in ({at} if at else {usual, DEFAULT_PORTS.get(scheme)})

    def _is_visit(self, method: str, headers: Mapping[str, str]) -> bool:
        """Somebody followed a link to the page, or to a picture or zip; in a frame only where frames are allowed."""
        shown = ("document", "iframe", "frame") if self._framed else ("document",)
        return (
            method in SAFE
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest", "document") in shown
        )


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is this machine's own alone."""
    name, _ = _parts(host)
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _is_local(name: str) -> bool:
    """A loopback name, or any IP address: no name that somebody could have pointed here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return True


def _parts(host: str) -> tuple[str, int | None]:
    """Name in lower case without brackets and trailing dot, and port, of a Host header; ("", None) for nonsense."""
    if any(c in host for c in "/@?#\\ \t,"):
        return "", None
    try:
        told = urlsplit(f"//{host}")
        return _lower(told.hostname or ""), told.port
    except ValueError:
        # A bare IPv6 address, as the setting `host` has it.
        try:
            return str(ipaddress.ip_address(host)), None
        except ValueError:
            return "", None


def _lower(name: str) -> str:
    return name.strip().lower().rstrip(".")


def _shown(name: str) -> str:
    return "".join(c for c in name if c.isalnum() or c in "-.:_")[:100]
