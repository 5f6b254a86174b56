"""Addresses of the sign-in: what a browser or an app calls before it has an access token."""

import hashlib
import json
import math
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from ops.auth import AccessTokens
from ops.edge.contexts import Throttled
from ops.sign_in.login import ProviderLogin
from ops.signing_keys import SigningKeys
from resolvers import sign_in
from resolvers.refusals import Refusal, RefusalCode
from resolvers.sign_in import SignedIn, SignInResources

ATTEMPTS_A_MINUTE = 5
ATTEMPTS_OF_AN_ADDRESS = 30
REMEMBERED_ACCOUNTS = 10_000
PREFLIGHT = "graphql-require-preflight"
LARGEST_BODY = 8_192
_STATUS = {
    RefusalCode.BAD_INPUT: 400,
    RefusalCode.UNAUTHENTICATED: 401,
    RefusalCode.FORBIDDEN: 403,
    RefusalCode.NOT_FOUND: 404,
    RefusalCode.LIMIT_EXCEEDED: 429,
    RefusalCode.UNAVAILABLE: 503,
}
_NO_STORE = {"Cache-Control": "no-store"}


class Throttle:
    """Five sign-ins a minute for one address and account, 30 for one address, in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def take(self, address: str, account: str) -> Mapping[str, str]:
        """Counts an attempt; the `RateLimit-*` headers. Raises `Throttled`."""
        self._take(address, "", ATTEMPTS_OF_AN_ADDRESS, "from one address")
        key = hashlib.sha256(account.encode()).hexdigest()
        return self._take(address, key, ATTEMPTS_A_MINUTE, "for one account from one address")

    def _take(self, address: str, account: str, most: int, of: str) -> Mapping[str, str]:
        now = self._clock()
        times = self._times.setdefault((address, account), deque())
        self._times.move_to_end((address, account))
        if len(self._times) > REMEMBERED_ACCOUNTS:
            self._times.popitem(last=False)
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) < most:
            times.append(now)
            return _standing(most, most - len(times), int(times[0] + 60 - now) + 1)
        wait = int(times[0] + 60 - now) + 1
        raise Throttled(
            f"{most} sign-ins a minute are taken {of}. Try again in {wait} s.",
            limit="signIns",
            value=most,
            retry_after=wait,
            headers=_standing(most, 0, wait),
        )


def _standing(limit: int, remaining: int, seconds: int) -> Mapping[str, str]:
    return {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(seconds),
    }


@dataclass(frozen=True)
class SignInRoutes:
    """`/auth/…` and `/.well-known/jwks.json`."""

    resources: SignInResources
    login: ProviderLogin
    tokens: AccessTokens
    keys: SigningKeys
    public_url: str
    """Where browsers find this server, without a slash at the end."""
    origins: tuple[str, ...]
    throttle: Throttle

    @property
    def secure(self) -> bool:
        """Whether browsers come over TLS."""
        return self.public_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """The refresh token's cookie."""
        return "__Host-assay_refresh" if self.secure else "assay_refresh"

    def routes(self) -> list[Mount | Route]:
        """For the application."""
        inner = Starlette(
            routes=[
                Route("/providers", self._guarded(self._providers), methods=["GET"]),
                Route("/login/{provider}", self._guarded(self._login), methods=["GET"]),
                Route("/callback/{provider}", self._guarded(self._callback), methods=["GET"]),
                Route("/password", self._guarded(self._password), methods=["POST"]),
                Route("/refresh", self._guarded(self._refresh), methods=["POST"]),
                Route("/logout", self._guarded(self._logout), methods=["POST"]),
            ],
            middleware=[
                Middleware(
                    SessionMiddleware,
                    secret_key=self._session_secret(),
                    session_cookie="__Host-assay_sign_in" if self.secure else "assay_sign_in",
                    max_age=600,
                    same_site="lax",
                    https_only=self.secure,
                )
            ],
        )
        return [
            Mount("/auth", app=inner),
            Route("/.well-known/jwks.json", self._jwks, methods=["GET"]),
        ]

    def _session_secret(self) -> str:
        """The same in every replica, and nothing else's: derived from the oldest signing key."""
        described = json.dumps(self.keys.private_jwks()["keys"][0], sort_keys=True)
        return hashlib.sha256(b"assay sign-in session " + described.encode()).hexdigest()

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """With a refusal as its answer."""

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except Refusal as refusal:
                return _refused(refusal)

        return guarded

    async def _jwks(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's handler shape
        return JSONResponse(
            self.keys.public_jwks(), headers={"Cache-Control": "public, max-age=600"}
        )

    async def _providers(self, request: Request) -> Response:  # noqa: ARG002 - as above
        return JSONResponse([provider.login() for provider in self.login.providers])

    async def _login(self, request: Request) -> Response:
        name = request.path_params["provider"]
        request.session["return_to"] = self._return_to(request.query_params.get("return_to", "/"))
        return await self.login.redirect(name, request, f"{self.public_url}/auth/callback/{name}")

    def _return_to(self, address: str) -> str:
        """A path of this server, or an address of a page that may call it."""
        parts = urlsplit(address)
        if not parts.scheme and not parts.netloc:
            if address.startswith("/") and not address.startswith("//") and "\\" not in address:
                return address
        elif f"{parts.scheme}://{parts.netloc}" in self.origins:
            return address
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "return_to is a path of this server, or an address of an origin in ASSAY_CORS_ORIGINS.",
        )

    async def _callback(self, request: Request) -> Response:
        claims = await self.login.claims(request.path_params["provider"], request)
        signed_in = await sign_in.sign_in_by_provider(self.resources, claims, token_hex(16))
        answer = RedirectResponse(request.session.pop("return_to", "/"), status_code=303)
        self._set_cookie(answer, signed_in)
        return answer

    async def _password(self, request: Request) -> Response:
        said = await _body(request)
        organization, email, password = (
            _text(said, name) for name in ("organization", "email", "password")
        )
        address = request.client.host if request.client else ""
        standing = self.throttle.take(address, f"{organization}\n{email.strip().lower()}")
        try:
            signed_in = await sign_in.sign_in_by_password(
                self.resources, organization, email, password, token_hex(16)
            )
            answer = self._answer(signed_in, by_cookie=said.get("cookie") is True)
        except Refusal as refusal:
            answer = _refused(refusal)
        answer.headers.update(standing)
        return answer

    async def _refresh(self, request: Request) -> Response:
        token, by_cookie = await self._shown(request)
        try:
            signed_in = await sign_in.refresh_session(self.resources, token, token_hex(16))
        except Refusal as refusal:
            content = {"error": refusal.code, "error_description": refusal.message}
            answer = JSONResponse(content, status_code=401, headers=_NO_STORE)
            self._drop_cookie(answer)
            return answer
        return self._answer(signed_in, by_cookie=by_cookie)

    async def _logout(self, request: Request) -> Response:
        token, _ = await self._shown(request)
        await sign_in.sign_out(self.resources, token, token_hex(16))
        answer = Response(status_code=204, headers=_NO_STORE)
        self._drop_cookie(answer)
        return answer

    async def _shown(self, request: Request) -> tuple[str, bool]:
        """The refresh token, and whether it came as a cookie. A cookie needs the header no form
        of another page can send."""
        said = await _body(request)
        if "refresh_token" in said:
            return _text(said, "refresh_token"), False
        if (cookie := request.cookies.get(self.cookie)) is None:
            raise Refusal(RefusalCode.UNAUTHENTICATED, sign_in.SIGN_IN_AGAIN)
        if PREFLIGHT not in request.headers:
            raise Refusal(RefusalCode.BAD_INPUT, f"Send the header {PREFLIGHT}: 1 with the cookie.")
        return cookie, True

    def _answer(self, signed_in: SignedIn, *, by_cookie: bool) -> Response:
        """RFC 6749 §5.1; with a cookie the refresh token is nowhere a script can read it."""
        content: dict[str, Any] = {
            "access_token": self.tokens.issue_token(
                signed_in.user_id, signed_in.organization_id, session_id=signed_in.session_id
            ),
            "token_type": "Bearer",
            "expires_in": self.tokens.ttl_seconds,
        }
        if not by_cookie:
            content["refresh_token"] = signed_in.refresh_token
        answer = JSONResponse(content, headers=_NO_STORE)
        if by_cookie:
            self._set_cookie(answer, signed_in)
        return answer

    def _set_cookie(self, answer: Response, signed_in: SignedIn) -> None:
        answer.set_cookie(
            self.cookie,
            signed_in.refresh_token,
            max_age=int(self.resources.refresh_life.total_seconds()),
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )

    def _drop_cookie(self, answer: Response) -> None:
        answer.delete_cookie(
            self.cookie, path="/", secure=self.secure, httponly=True, samesite="lax"
        )


def _refused(refusal: Refusal) -> Response:
    """A refusal as JSON (RFC 6749 §5.2: `error`, `error_description`)."""
    headers = dict(_NO_STORE)
    if isinstance(refusal, Throttled):
        headers |= refusal.headers | {"Retry-After": str(math.ceil(refusal.retry_after))}
    content = {"error": refusal.code, "error_description": refusal.message}
    return JSONResponse(content, status_code=_STATUS.get(refusal.code, 400), headers=headers)


async def _body(request: Request) -> dict[str, Any]:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LARGEST_BODY:
            raise Refusal(RefusalCode.BAD_INPUT, f"The body is larger than {LARGEST_BODY} bytes.")
    if not raw:
        return {}
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Refusal(RefusalCode.BAD_INPUT, "The body is a JSON object.")
    return said


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 1_000 or "\0" in value:
        raise Refusal(RefusalCode.BAD_INPUT, f"{name} is a text of 1 to 1,000 characters.")
    return value
