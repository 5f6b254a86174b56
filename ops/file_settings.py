"""Settings of files: where they lie, how large they may be, how many may come."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings


def _storage_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    local = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    if url and not local and not (parts.scheme == "s3" and parts.netloc and not parts.username):
        raise ValueError("write it as file:///folder or s3://bucket/prefix, without credentials")
    return url


StorageUrl = Annotated[str, AfterValidator(_storage_url)]


class FileSettings(BaseSettings):
    """What comes into the storage of files."""

    storage_url: StorageUrl = Field(
        "",
        description="Where originals of documents lie: file:///folder or s3://bucket/prefix, the "
        "same for every process. S3 credentials come from AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or from the role of the machine. Empty: originals in the data "
        "directory, which every process must then share.",
    )
    storage_endpoint: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9.\-\[\]:]+)?$",
        description="Address of an S3-compatible server, as https://s3.example.edu. Empty: AWS.",
    )
    storage_region: str = Field("", description="Region of the S3 bucket, as eu-central-1.")
    document_bytes: int = Field(
        100_000_000,
        ge=1_000,
        le=2_147_483_647,
        description="Largest document, sent by createUpload or fetched, in bytes.",
    )
    import_bytes: int = Field(
        2_000_000_000,
        ge=1_000,
        le=2_147_483_647,
        description="Largest file staff send for an import, in bytes.",
    )
    upload_hours: float = Field(
        12.0,
        ge=0.1,
        le=12,
        description="Time to send an upload and use it, in hours. At most 12: the keys that sign "
        "its address may be gone then.",
    )
    open_uploads: int = Field(
        20, ge=1, le=10_000, description="Uploads a person may have under way at once."
    )
    waiting_documents: int = Field(
        500, ge=1, description="Documents of a person that may wait to be read."
    )
    course_bytes: int = Field(
        20_000_000_000, ge=1_000, description="Bytes of all documents of a course, with uploads."
    )
    organization_bytes: int = Field(
        1_000_000_000_000, ge=1_000, description="Bytes an organization may have in the storage."
    )
