"""All routes of the HTTP API."""

from fastapi import APIRouter

from .api import Api
from .entry import entry_routes
from .executions import execution_reads
from .export import export_routes
from .observing import observing_routes
from .steering import steering_routes
from .system import system_routes

__all__ = ["api_router"]


def api_router(api: Api) -> APIRouter:
    """The routes, for `WebServer(..., routers=[api_router(api)])`."""
    router = APIRouter()
    parts = (
        system_routes(api),
        steering_routes(api),
        export_routes(api),
        execution_reads(api),
        observing_routes(api),
        *entry_routes(api),
    )
    for part in parts:
        router.include_router(part)
    return router
