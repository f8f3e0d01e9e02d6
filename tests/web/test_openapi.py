"""The HTTP API keeps to its own document, whatever it is asked: Schemathesis makes the requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from samples import draw, make_job
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.generation import GenerationMode
from serving import serving

import fpve
from fpve.web.routes import ROUTERS

_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# A second or less each; `scripts/torture/requests.py` asks for longer.
_EXAMPLES = 15
# Of texts that are made: those that are as long as they may be take long, and fit into no address.
_LONGEST = 500
# What parameters are among others, so that there are answers besides refusals.
_IDS = ["pets/00.png", "pets/11.png", "pets/none.png", "pets"]
_KNOWN: dict[str, list[Any]] = {
    "image_id": _IDS,
    "id": _IDS[1:],
    "text": ["a cat", "", "\u202e\0'\"<"],
    "where": ["price > 3", "kind = 'cat' AND path LIKE '%0%'", "kind", "price >", "1 / 0 = 1"],
    "filters": ['{"kind": ["cat", null]}', '{"price": {"min": 1, "max": 4.5}}', '{"none": ["x"]}', '{"kind"', "[]"],
    "columns": [["kind"], ["kind", "price"], ["none"]],
    "sort": ["price", "-kind", "none"],
    "label": ["kind", "price", "none"],
    "color": ["kind", "price", "none"],
    "method": ["pca", "none"],
    "group_by": ["kind", "none"],
    "query": ["SELECT * FROM images", "SELECT 'nan'::DOUBLE, [1, NULL], {'a': now()}, '\\x00'::BLOB", "DROP", "SELECT"],
}
OPERATIONS = sorted(
    (method.lower(), route.path_format)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and route.include_in_schema
    for method in route.methods
)
# Nobody has sent a picture of which the handle could be told.
_UNKNOWN = "/api/queries/{picture}"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    """The document of a gallery that is served, over a store of 12 pictures."""
    root = tmp_path_factory.mktemp("openapi")
    lines = ["path,caption,kind,price"]
    for number in range(12):
        draw(root / "pictures" / f"{number:02d}.png", number)
        lines.append(f"{number:02d}.png,a cat {number},{'cat' if number % 2 else 'dog'},{number}.5")
    (root / "pictures" / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    fpve.run(make_job(root / "store", root / "pictures"))
    with serving(root / "store") as server:
        told = httpx.get(server.url("/openapi.json")).json()
        _shorten(told)
        _narrow(told)
        document = schemathesis.openapi.from_dict(told)
        document.config.update(base_url=server.address)
        yield document


def _shorten(document: Any) -> None:
    """Bound the length of texts, wherever a JSON document allows more."""
    for value in document.values() if isinstance(document, dict) else document:
        if isinstance(value, dict) and "maxLength" in value:
            value["maxLength"] = min(value["maxLength"], _LONGEST)
        if isinstance(value, dict | list):
            _shorten(value)


def _narrow(document: Any) -> None:
    """Have parameters and fields of requests be what is known of them."""
    for operation in (one for path in document["paths"].values() for one in path.values()):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in _KNOWN:
                parameter["schema"] = {"enum": _KNOWN[parameter["name"]]}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            schema = document["components"]["schemas"][name] if name else content["schema"]
            fields = schema.get("properties", {})
            fields.update({name: {"enum": [*_KNOWN[name], None]} for name in fields if name in _KNOWN})


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as told", "otherwise"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_those_of_the_document(
    document: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """Whatever is asked, as the document says or not, the answer is one that the document tells of, and no failure."""
    operation = document[path][method]
    statuses = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    # To make a request simpler takes minutes; one that fails is told as a command line, whatever it looks like.
    @settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        statuses.add(case.call_and_validate(checks=_CHECKS).status_code)

    # Of an operation that takes any text, or nothing, nothing else can be asked.
    with suppress(Unsatisfiable):
        ask()
    if mode == GenerationMode.POSITIVE and path != _UNKNOWN:
        assert 200 in statuses
