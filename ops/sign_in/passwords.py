"""Passwords: argon2id, away from the event loop."""

import asyncio

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

AT_ONCE = 2  # each takes 64 MiB and a core


class Argon2Passwords:
    """Hashes with argon2id at the library's cost (RFC 9106 §4, its second choice)."""

    def __init__(self) -> None:
        self._hasher = PasswordHash((Argon2Hasher(),))
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to store."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether it is the password; as long for no hash as for a wrong one."""
        if self._nobody is None:
            self._nobody = await self.hash("nobody's")
        against = self._nobody if hashed is None else hashed
        async with self._slots:
            right = await asyncio.to_thread(self._hasher.verify, password, against)
        return right and hashed is not None
