"""How a gallery is served: by which address, to whom, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
# Characters of a text that is searched by; models read no more than some thousand.
LONGEST_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How a gallery is served.

    Attributes:
        host: the address that it listens at.
        port: the port; 0 takes a free one.
        token: what a client has to know; needed unless `host` is of loopback.
        allowed_hosts: names, besides those of this machine, by which clients may call it.
        max_upload: bytes of a request's body.
        sql_timeout: seconds that an SQL query or condition may take.
        sql_memory: bytes that it may take.
        refresh_seconds: how often a newer snapshot is looked for.
    """

    host: str = LOOPBACK
    port: int = 8000
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    # A photograph of 100 megapixels as JPEG, or an export of 400,000 ids.
    max_upload: int = 32_000_000
    sql_timeout: float = 10.0
    sql_memory: int = 1_000_000_000
    refresh_seconds: float = 1.0
