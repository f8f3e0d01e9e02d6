"""What can be asked over HTTP, a module for each subject."""

from fastapi import APIRouter

from fpve.web.routes import page

ROUTERS: tuple[APIRouter, ...] = (page.router,)

__all__ = ["ROUTERS"]
