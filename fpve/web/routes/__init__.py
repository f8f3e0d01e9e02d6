"""What can be asked over HTTP, a module for each subject."""

from fastapi import APIRouter

from fpve.web.routes import (
    browse,
    curation,
    export,
    facets,
    images,
    map,
    metrics,
    page,
    pictures,
    predictions,
    search,
    sql,
    status,
    thumbnails,
)

ROUTERS: tuple[APIRouter, ...] = (
    status.router,
    search.router,
    browse.router,
    facets.router,
    images.router,
    thumbnails.router,
    pictures.router,
    curation.router,
    map.router,
    predictions.router,
    export.router,
    sql.router,
    metrics.router,
    page.router,
)

__all__ = ["ROUTERS"]
