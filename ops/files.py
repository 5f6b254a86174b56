"""The storage of files, and how much may come into it, as configured."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

from pydantic import SecretStr

from agents.documents.extracted import Limits
from ops.file_links import SignedLinks
from ops.settings import Settings
from persistence.objects import open_storage
from resolvers.fetching import FetchRules
from resolvers.files import FileRules, Files


def open_files(settings: Settings, links: SignedLinks) -> Files:
    """The storage of files and how much may come into it."""
    storage = open_storage(
        settings.storage_address,
        endpoint=settings.storage_endpoint,
        region=settings.storage_region,
        access_key=_plain(settings.storage_access_key),
        secret_key=_plain(settings.storage_secret_key),
    )
    return Files(storage, links, _file_rules(settings), _fetch_rules(settings))


def reading_limits(rules: FileRules, pictures: int) -> Limits:
    """What reading a file may cost, where it may be as large as it may come."""
    usual = Limits()
    most = max(rules.document_bytes, rules.multipart_bytes)
    return replace(
        usual,
        max_bytes=most,
        max_unpacked=max(usual.max_unpacked, 4 * most),
        max_pictures=pictures,
    )


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _fetch_rules(settings: Settings) -> FetchRules:
    networks = tuple(ip_network(one) for one in settings.fetch_networks)
    return FetchRules(settings.fetch_hosts, settings.fetch_http, networks)


def _file_rules(settings: Settings) -> FileRules:
    return FileRules(
        multipart_bytes=settings.upload_bytes,
        document_bytes=settings.document_bytes,
        import_bytes=settings.import_bytes,
        upload_life=timedelta(hours=settings.upload_hours),
        open_uploads=settings.open_uploads,
        waiting_documents=settings.waiting_documents,
        course_bytes=settings.course_bytes,
        organization_bytes=settings.organization_bytes,
    )
