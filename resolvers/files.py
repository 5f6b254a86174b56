"""What a request needs to take files in and hand them out."""

import asyncio
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from persistence.objects import ObjectStorage
from persistence.visibility import Viewer
from resolvers.fetching import FetchRules

MEGABYTE = 1_000_000


class FileLinks(Protocol):
    """Makes signed addresses of this server."""

    def upload_url(self, upload_id: UUID, expires_at: datetime) -> str:
        """Where the parts of this upload go, and nothing else."""

    def original_url(self, viewer: Viewer, document_id: UUID) -> str:
        """Where this viewer downloads this document's original, for a few minutes."""


@dataclass(frozen=True)
class FileRules:
    """How much may come, as configured."""

    multipart_bytes: int = 25 * MEGABYTE
    document_bytes: int = 100 * MEGABYTE
    import_bytes: int = 2_000 * MEGABYTE
    upload_life: timedelta = timedelta(hours=12)
    open_uploads: int = 20
    """Of one person."""
    waiting_documents: int = 500
    """Of one person, not yet read."""
    course_bytes: int = 20_000 * MEGABYTE
    organization_bytes: int = 1_000_000 * MEGABYTE


@dataclass(frozen=True)
class Files:
    """One a process."""

    storage: ObjectStorage
    links: FileLinks
    rules: FileRules = field(default_factory=FileRules)
    fetching: FetchRules = field(default_factory=FetchRules)
    assembling: MutableMapping[UUID, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Held by who puts the parts of an upload together."""
    counting: MutableMapping[UUID, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)
    """By person: held by their requests that may count against their quotas."""
    sending: Counter[UUID] = field(default_factory=Counter)
    """How many requests send parts of an upload."""
