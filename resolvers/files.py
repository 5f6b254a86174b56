"""What a request needs to take files in and hand them out."""

from dataclasses import dataclass, field

from persistence.objects import ObjectStorage

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class FileRules:
    """How much may come, as configured."""

    multipart_bytes: int = 25 * MEGABYTE


@dataclass(frozen=True)
class Files:
    """One a process."""

    storage: ObjectStorage
    rules: FileRules = field(default_factory=FileRules)
