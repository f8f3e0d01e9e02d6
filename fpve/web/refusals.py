"""Refusals: every error of the library, and every wrong request, as one line of JSON with the status that fits."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fpve.errors import (
    EncoderError,
    FpveError,
    ImageError,
    ImageNotFound,
    QueryError,
    ServerBusy,
    SnapshotPruned,
    StoreCorrupt,
)


class Refusal(BaseModel):
    """Why a request is not answered."""

    error: str = Field(description="One line: what was expected, what was found, what to do.")


class Refused(Exception):
    """A request that is refused for a reason that is no error of the library.

    Attributes:
        status: of HTTP.
        headers: that go along.
    """

    def __init__(self, status: int, reason: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


# What every operation may be answered with, for the document.
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "The request is refused."},
    "5XX": {"model": Refusal, "description": "The store, or the server, can't answer at the moment."},
}
# Characters of a reason: a value that SQL can't convert is said again, however long it is.
_LONGEST = 2_000
# The first that fits counts. What is left is nothing that a client could ask for in another way.
_STATUS: tuple[tuple[type[FpveError], int], ...] = (
    (ImageNotFound, HTTPStatus.NOT_FOUND),
    (QueryError, HTTPStatus.BAD_REQUEST),
    (ImageError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    # Weights that are not on this machine, or vectors that came without a model.
    (EncoderError, HTTPStatus.NOT_IMPLEMENTED),
    (ServerBusy, HTTPStatus.SERVICE_UNAVAILABLE),
    # And no newer one can be opened at the moment.
    (SnapshotPruned, HTTPStatus.SERVICE_UNAVAILABLE),
    (StoreCorrupt, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The response of a refusal, in one line of which no more is told than somebody reads."""
    line = " ".join(reason.split())
    return JSONResponse({"error": line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"}, status, headers)


def refuse_as(refused: Refused) -> JSONResponse:
    """The response of what was raised to refuse a request."""
    return refuse(refused.status, str(refused), refused.headers)


def add_handlers(app: FastAPI) -> None:
    """Have whatever goes wrong in an application answered as a `Refusal`."""
    app.add_exception_handler(FpveError, _library)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def _library(_: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    return refuse(status, str(error), {"Retry-After": "2"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None)


def _refused(_: Request, error: Exception) -> JSONResponse:
    return refuse_as(error) if isinstance(error, Refused) else _unexpected(_, error)


def _parameters(_: Request, error: Exception) -> JSONResponse:
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    # `query` or `body`, and then which of it.
    said = (f"{'.'.join(str(one) for one in each['loc'][1:]) or 'body'}: {each['msg']}" for each in wrong)
    return refuse(HTTPStatus.BAD_REQUEST, "; ".join(said))


def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return _unexpected(request, error)
    is_path = error.status_code == HTTPStatus.NOT_FOUND
    reason = f"nothing is at {request.url.path[:200]}" if is_path else str(error.detail)
    return refuse(error.status_code, reason, dict(error.headers or {}))


def _gone(_: Request, __: Exception) -> JSONResponse:
    return refuse(HTTPStatus.BAD_REQUEST, "expected the whole body, found the end of the connection")


def _unexpected(_: Request, error: Exception) -> JSONResponse:
    # What it is stands in the server's own log: it may name what is no client's business.
    return refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"an error of the server ({type(error).__name__})")
