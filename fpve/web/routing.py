"""Routes over the store that is served, which may be pruned under it by another machine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor

from fpve.errors import SnapshotPruned
from fpve.web.served import Served


class _StoreRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_at_newest(request: Request) -> Response:
            served: Served = request.app.state.served
            asked = served.store.snapshot
            try:
                return await answer(request)
            except SnapshotPruned:
                # A form is read as it comes, and can't be read again.
                is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
                if not await run_in_threadpool(served.leave, asked) or is_form:
                    raise
            return await answer(request)

        return answer_at_newest


class _Any(PathConvertor):
    # Names of files may have line breaks, which `.` is not.
    regex = r"[\s\S]*"


# In the path of a route: `{image_id:any}`.
register_url_convertor("any", _Any())


class StoreRouter(APIRouter):
    """Routes that are answered once more, at the newest snapshot, where the one that they were asked of is pruned."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=_StoreRoute, **options)
