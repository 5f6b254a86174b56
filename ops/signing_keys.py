"""The keys that sign access tokens: a file of Ed25519 keys every replica reads.

They are a private JWK set (RFC 7517). A key says from when on it signs (`assay_from`, Unix
seconds; 0 where it does not); the one that began last signs, all of them verify. A rotation adds a
key that begins a quarter of an hour later, when every reader of the published set knows of it, and
drops those whose last token has expired. A running process reads the file again when it changed.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from stat import S_IROTH, S_IWGRP, S_IWOTH
from typing import Any

from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import OKPKey

from observability.logs import logger

ALGORITHM = "Ed25519"
LOOK_SECONDS = 1.0
KNOWN_EVERYWHERE = timedelta(minutes=15)
LONGEST_TOKEN = timedelta(hours=12)
_FROM = "assay_from"


class SigningKeyError(Exception):
    """The file of signing keys can't be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class _Keys:
    """The set as it was read. `starts` has Unix seconds by `kid`."""

    by_kid: Mapping[str, OKPKey]
    starts: Mapping[str, int]

    def signing(self, now: float) -> OKPKey:
        private = [k for k, key in self.by_kid.items() if key.is_private]
        begun = [kid for kid in private if self.starts.get(kid, 0) <= now] or private[:1]
        return self.by_kid[max(begun, key=lambda kid: self.starts.get(kid, 0))]


class SigningKeys:
    """The private keys of the file. Each has a `kid`."""

    def __init__(
        self,
        keys: Sequence[OKPKey],
        starts: Mapping[str, int] | None = None,
        *,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = _checked(keys, starts or {})
        self._path, self._clock = path, clock
        self._stamp = _stamp(path)
        self._looked = time.monotonic()

    @classmethod
    def generate(cls) -> "SigningKeys":
        """Return a set of one new key, which no file holds."""
        return cls([OKPKey.generate_key("Ed25519", auto_kid=True)])

    @classmethod
    def load_or_create(cls, path: Path) -> "SigningKeys":
        """Read the keys at `path`; where there is no file, make one with a new key, mode 0600.

        Processes that start at once end up with the same key: the file appears whole or not at
        all, and the first one wins. Raises `SigningKeyError`.
        """
        try:
            if not path.exists():
                with _draft(path, cls.generate()) as draft, suppress(FileExistsError):
                    os.link(draft, path)
            return cls.load(path)
        except OSError as error:
            raise SigningKeyError(f"{path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> "SigningKeys":
        """Read the set of a file. Raises `SigningKeyError`, `OSError`."""
        keys, starts = _read(path)
        return cls(keys, starts, path=path)

    @property
    def signing_key(self) -> OKPKey:
        """The key that signs now."""
        self._look()
        return self._keys.signing(self._clock())

    @property
    def signing_kid(self) -> str:
        """The id of the key that signs now."""
        return _kid(self.signing_key)

    def key_for(self, kid: object) -> OKPKey:
        """Return the key of this id. Raises joserfc's `InvalidKeyIdError`."""
        if isinstance(kid, str) and self.has(kid):
            return self._keys.by_kid[kid]
        raise InvalidKeyIdError("unknown key")

    def has(self, kid: str) -> bool:
        """Whether a key of this id verifies."""
        self._look()
        return kid in self._keys.by_kid

    def public_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the JWK set to publish: `kty crv x kid use alg` of each key, no private part."""
        self._look()
        return {"keys": [_described(key, private=False) for key in self._keys.by_kid.values()]}

    def private_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the JWK set as the file holds it."""
        described = []
        for kid, key in self._keys.by_kid.items():
            start = self._keys.starts.get(kid)
            own = _described(key, private=key.is_private)
            described.append(own if start is None else own | {_FROM: start})
        return {"keys": described}

    def rotated(self, *, at_once: bool = False) -> "SigningKeys":
        """Return the set with a new key, without the keys whose last token has expired.

        The new key signs in 15 minutes. `at_once` is for a key that leaked: the new one signs now
        and is alone; every token there is stops being valid.
        """
        now = int(self._clock())
        new = OKPKey.generate_key("Ed25519", auto_kid=True)
        if at_once:
            return SigningKeys([new], {_kid(new): now}, path=self._path, clock=self._clock)
        start = now + int(KNOWN_EVERYWHERE.total_seconds())
        signing = self._keys.signing(now)
        since = self._keys.starts.get(_kid(signing), 0)
        expired = since + LONGEST_TOKEN.total_seconds() <= now
        kept = {
            kid: key
            for kid, key in self._keys.by_kid.items()
            if not expired or key is signing or self._keys.starts.get(kid, 0) > now
        }
        starts = {kid: s for kid, s in self._keys.starts.items() if kid in kept}
        return SigningKeys(
            [*kept.values(), new], starts | {_kid(new): start}, path=self._path, clock=self._clock
        )

    def save(self, path: Path) -> None:
        """Replace the file, whole, mode 0600. Raises `OSError`."""
        with _draft(path, self) as draft:
            draft.replace(path)

    def _look(self) -> None:
        """Read the file again if it changed, at most once a second. A bad one is left aside."""
        if self._path is None or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        stamp = _stamp(self._path)
        if stamp is None or stamp == self._stamp:
            return
        try:
            self._keys = _checked(*_read(self._path))
            self._stamp = stamp
            logger.info("the signing keys were read again")
        except (SigningKeyError, OSError) as error:
            logger.error("the changed signing keys can't be used: {}", type(error).__name__)


def _checked(keys: Sequence[OKPKey], starts: Mapping[str, int]) -> _Keys:
    if not keys or not keys[0].is_private:
        raise SigningKeyError("The first signing key must be a private one.")
    return _Keys({_kid(key): key for key in keys}, starts)


def _read(path: Path) -> tuple[list[OKPKey], dict[str, int]]:
    mode = path.stat().st_mode
    if mode & (S_IWGRP | S_IWOTH):
        raise SigningKeyError(f"{path}: others may write it; run chmod 600 on it")
    if mode & S_IROTH:
        logger.warning("everyone on this machine may read the signing keys; chmod 600 the file")
    keys, starts = None, {}
    with suppress(AttributeError, ValueError, KeyError, TypeError, JoseError):
        described = json.loads(path.read_bytes())["keys"]
        keys = [OKPKey.import_key(_bare(each)) for each in described]
        starts = {
            _kid(key): int(each[_FROM])
            for key, each in zip(keys, described, strict=True)
            if _FROM in each
        }
    # Outside of the handler: those errors may repeat parts of a key.
    if not keys or any(key.curve_name != "Ed25519" for key in keys):
        raise SigningKeyError(f"{path}: not a JWK set of Ed25519 keys")
    return keys, starts


def _bare(described: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in described.items() if name != _FROM}


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None


def _kid(key: OKPKey) -> str:
    """The key's own id, else its RFC 7638 thumbprint."""
    key.ensure_kid()
    return str(key.kid)


def _described(key: OKPKey, *, private: bool) -> dict[str, Any]:
    own = dict(key.as_dict(private=private))
    return own | {"kid": _kid(key), "use": "sig", "alg": ALGORITHM}


@contextmanager
def _draft(path: Path, keys: SigningKeys) -> Iterator[Path]:
    """A file beside `path` with the whole set, gone at the end unless it was moved."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(keys.private_jwks(), indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
