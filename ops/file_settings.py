"""Settings of files: where they lie, how large they may be, how many may come."""

import re
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode


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


def _words(value: object) -> object:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", value):
        raise ValueError("write each host as docs.example.edu or *.example.edu, without https://")
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("write each network as 10.20.0.0/16") from None
    return value


Words = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_words)
]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_words)
]


class FileSettings(BaseSettings):
    """What comes into the storage of files."""

    storage_url: StorageUrl = Field(
        "",
        description="Where originals of documents lie: file:///folder or s3://bucket/prefix, the "
        "same for every process. Empty: originals in the data directory, which every process must "
        "then share.",
    )
    storage_endpoint: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9.\-\[\]:]+)?$",
        description="Address of an S3-compatible server, as https://s3.example.edu. Empty: AWS.",
    )
    storage_region: str = Field("", description="Region of the S3 bucket, as eu-central-1.")
    storage_access_key: SecretStr | None = Field(
        None,
        description="Access key of the S3 bucket. Empty: AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or the role of the machine.",
    )
    storage_secret_key: SecretStr | None = Field(
        None, description="Secret key that belongs to ASSAY_STORAGE_ACCESS_KEY."
    )
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
    fetch_hosts: Words = Field(
        (),
        description="Hosts whose files may become documents by their address, separated by commas: "
        "docs.example.edu, *.example.edu for all below it, * for all. Empty: none.",
    )
    fetch_http: bool = Field(False, description="Fetch from http:// addresses as well.")
    fetch_networks: Networks = Field(
        (),
        description="Networks that are fetched from, at any port, although they are not public, as "
        "10.20.0.0/16, separated by commas. Empty: none, and ports 443 and 80 alone.",
    )
    replaced_days: float = Field(
        0.0,
        ge=0,
        description="Days after which a replaced version of a document is deleted, with what "
        "answers quoted of it. 0: never.",
    )
