"""Serves the files of the web page in `page/`, and nothing else from the disk."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

PAGE = Path(__file__).parent / "page"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page_routes() -> APIRouter:
    """Builds the routes of the page: `/` and `/page/{name}`."""
    router = APIRouter()

    @router.head("/", include_in_schema=False)
    @router.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return _file("index.html")

    @router.get("/page/{name}", include_in_schema=False)
    async def part_of_page(name: str) -> FileResponse:
        return _file(name)

    return router


def _file(name: str) -> FileResponse:
    # Looked up among the existing files, so that no name leads out of the folder.
    path = next((path for path in PAGE.glob("*") if path.name == name and path.suffix in MEDIA_TYPES), None)
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})
