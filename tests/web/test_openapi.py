"""The HTTP API keeps to its own document, whatever it is asked: Schemathesis makes the requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

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
from web.document import document_of

import fpve
from fpve.web.routes import ROUTERS

_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# A second or less each; `scripts/torture/requests.py` asks for longer.
_EXAMPLES = 15
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
        document = schemathesis.openapi.from_dict(document_of(server))
        document.config.update(base_url=server.address)
        yield document


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
