"""Where the tests' PostgreSQL is."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class PostgresServer:
    """A server of the tests; `url` is the address of any database on it."""

    url: str

    def dsn(self, database: str) -> str:
        """The address of this database."""
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()
