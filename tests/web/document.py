"""The OpenAPI document of a gallery, as whoever makes requests from it at random needs it."""

from __future__ import annotations

from typing import Any

import httpx
from serving import Server

# Of texts: those that are as long as they may be take long to make, and fit into no address.
_LONGEST = 500
# Of images that are asked for.
_IDS = 10
_NONSENSE = "\u202e\0'\"<"


def document_of(server: Server, *, known_only: bool = True) -> dict[str, Any]:
    """The document, by which texts are short, and parameters what means something to the store.

    Args:
        server: of whom.
        known_only: whether parameters of queries and fields of bodies are never anything else.
    """
    told: dict[str, Any] = httpx.get(server.url("/openapi.json")).json()
    _shorten(told)
    columns = {one["name"]: one["type"] for one in httpx.get(server.url("/api/status")).json()["columns"]}
    label = next((name for name, kind in columns.items() if kind == "string"), "collection")
    number = next((name for name, kind in columns.items() if kind in ("int64", "float64")), "bytes")
    ids = [*httpx.get(server.url("/api/ids"), timeout=60).json()["ids"][:_IDS], "none"]
    known = {
        "image_id": ids,
        "id": ids,
        "text": ["a cat", _NONSENSE],
        "where": [f"{number} > 3", f"{label} IS NOT NULL AND path LIKE '%0%'", label, f"{number} >", "1 / 0 = 1"],
        "filters": [
            f'{{"{label}": ["cat", null]}}',
            f'{{"{number}": {{"min": 1, "max": 4.5}}}}',
            '{"none": ["x"]}',
            f'{{"{label}"',
            "[]",
        ],
        "columns": [[label], [label, number], ["none"]],
        "sort": [number, f"-{label}", "none"],
        "label": [label, number, "none"],
        "color": [label, number, "none"],
        "method": ["pca", "none"],
        "group_by": [label, "none"],
        "query": [
            "SELECT * FROM images",
            "SELECT 'nan'::DOUBLE, [1, NULL], {'a': now()}, '\\x00'::BLOB",
            "DROP TABLE images",
            "SELECT",
        ],
    }
    _narrow(told, known, known_only)
    return told


def _shorten(document: Any) -> None:
    """Bound the length of texts, wherever a JSON document allows more."""
    for value in document.values() if isinstance(document, dict) else document:
        if isinstance(value, dict) and "maxLength" in value:
            value["maxLength"] = min(value["maxLength"], _LONGEST)
        if isinstance(value, dict | list):
            _shorten(value)


def _narrow(document: Any, known: dict[str, list[Any]], known_only: bool) -> None:
    """Let parameters and fields of requests be what is known of them."""

    def narrowed(name: str, schema: Any, only: bool) -> Any:
        return {"enum": known[name]} if only else {"anyOf": [{"enum": known[name]}, schema]}

    for operation in (one for path in document["paths"].values() for one in path.values()):
        for parameter in operation.get("parameters", ()):
            name, only = parameter["name"], known_only or parameter["in"] == "path"
            if name in known:
                parameter["schema"] = narrowed(name, parameter["schema"], only)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            schema = document["components"]["schemas"][name] if name else content["schema"]
            fields = schema.get("properties", {})
            fields.update({name: narrowed(name, fields[name], known_only) for name in fields.keys() & known.keys()})
