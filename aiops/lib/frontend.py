"""Static files: the few that the pages use out of node_modules, and names that change with the content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage, Storage
from whitenoise.storage import CompressedManifestStaticFilesStorage

# Served name → file in node_modules. Only what a page asks for is published.
FILES = {
    "tabler/tabler.min.css": "@tabler/core/dist/css/tabler.min.css",
}


class NodeModulesFinder(BaseFinder):
    """Finds the files of FILES where `npm ci` put them."""

    def __init__(self, app_names: Any = None, *args: Any, **kwargs: Any) -> None:
        self.storage = _NodeModulesStorage(location=settings.NODE_MODULES)

    def check(self, **kwargs: Any) -> list[Any]:
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        found = settings.NODE_MODULES / FILES[path] if path in FILES else None
        exists = found is not None and found.is_file()
        if find_all:
            return [str(found)] if exists else []
        return str(found) if exists else None

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, Storage]]:
        for name in FILES:
            yield name, self.storage


class _NodeModulesStorage(FileSystemStorage):
    """Opens a served name at its place in node_modules."""

    def path(self, name: str) -> str:
        return str(Path(self.base_location) / FILES.get(name, name))


class StaticStorage(CompressedManifestStaticFilesStorage):
    """Hashed names where collectstatic ran; plain names where it did not (tests, a fresh checkout)."""

    manifest_strict = False

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        try:
            return super().hashed_name(name, content, filename)
        except ValueError:
            return name
