"""What can be asked over HTTP, a module for each subject."""

from fastapi import APIRouter

ROUTERS: tuple[APIRouter, ...] = ()

__all__ = ["ROUTERS"]
