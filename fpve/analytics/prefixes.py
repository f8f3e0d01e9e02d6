"""The prefixes of a snapshot, and how often each is used."""

from __future__ import annotations

import pyarrow as pa

from fpve.analytics.session import Session
from fpve.store.snapshot import Snapshot


def list_prefixes(snapshot: Snapshot, where: str | None = None) -> pa.Table:
    """The prefixes, most used ones first: to how many images each belongs, and where it came from.

    Raises:
        QueryError: `where` is no SQL condition over the columns of the view `prefixes`, `images` and `corrected`.
    """
    chosen = "" if where is None else f"WHERE ({where})"
    with Session(snapshot) as session:
        return session.ask(
            f"""
            WITH used AS (SELECT prefix_id, count(*) AS images FROM images GROUP BY prefix_id),
            given AS (SELECT text, count(*) AS corrected FROM corrections GROUP BY text),
            listed AS (
                SELECT prefixes.*, coalesce(used.images, 0) AS images, coalesce(given.corrected, 0) AS corrected
                FROM prefixes LEFT JOIN used USING (prefix_id) LEFT JOIN given USING (text)
            )
            SELECT prefix_id, images, corrected, text, origin, template, model, prompt, created_at
            FROM listed {chosen} ORDER BY images DESC, text
            """
        ).collect()
