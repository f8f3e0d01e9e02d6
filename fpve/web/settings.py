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
        max_upload: bytes of a form with a picture.
        max_json: bytes of any other body.
        sql_timeout: seconds that an SQL query or condition may take.
        sql_memory: bytes that it may take.
        refresh_seconds: how often a newer snapshot is looked for.
    """

    host: str = LOOPBACK
    port: int = 8000
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    # A photograph of 100 megapixels as JPEG.
    max_upload: int = 32_000_000
    # An export of 100,000 ids of 80 characters. JSON is parsed while nobody else is answered, in a thread as well, for
    # a parser holds the interpreter: of so many ids for 20 ms, of what is made to take long for a second.
    max_json: int = 8_000_000
    sql_timeout: float = 10.0
    sql_memory: int = 1_000_000_000
    refresh_seconds: float = 1.0
