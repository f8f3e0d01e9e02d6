"""Figures for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from fpve.web.metrics import Metrics

router = APIRouter(tags=["store"])

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}, "description": "The figures."}}


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses=_TEXT)
def metrics(request: Request) -> Response:
    """Requests by route, method and status, how long they took, and what is served."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
