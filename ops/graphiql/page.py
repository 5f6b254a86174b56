"""GraphiQL, served by this process: no content delivery network, no inline script.

The assets are vendored in `assets/`; `README.md` beside this file says how they are rebuilt.
"""

import hashlib
import secrets
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

ASSETS = Path(__file__).parent / "assets"
MEDIA_TYPES = {
    "boot.js": "text/javascript; charset=utf-8",
    "graphiql.js": "text/javascript; charset=utf-8",
    "graphiql.css": "text/css; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "LICENSES.txt": "text/plain; charset=utf-8",
}

# Scripts come from this origin's files alone. An open dialog writes one `style` element, hence a
# nonce, which boot.js hands on. GraphiQL's images are `data:`.
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'nonce-{nonce}'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)

DEFAULT_QUERY = """\
# Paste an access token after "Bearer " in the Headers editor below, then run with Ctrl-Enter.
# Without a token the schema can still be read in the Documentation explorer, top left.
# Subscriptions use the same token over graphql-transport-ws.

query Start {
  __typename
}
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Assay: GraphiQL</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{graphiql_css}">
<link rel="stylesheet" href="{page_css}">
</head>
<body>
<div id="graphiql" data-endpoint="graphql" data-default-query="{default_query}">
<noscript>GraphiQL needs JavaScript. The schema is at /graphql for any GraphQL client.</noscript>
</div>
<script src="{graphiql_js}"></script>
<script src="{boot_js}" nonce="{nonce}"></script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    """One vendored file. `version` is the start of its SHA-256, in hexadecimal."""

    name: str
    content: bytes
    media_type: str
    version: str

    @property
    def address(self) -> str:
        """The address relative to the page, so that a path prefix before both is kept."""
        return f"graphiql/{self.name}?v={self.version}"


@cache
def _assets() -> dict[str, Asset]:
    found = {}
    for name, media_type in MEDIA_TYPES.items():
        content = (ASSETS / name).read_bytes()
        version = hashlib.sha256(content).hexdigest()[:16]
        found[name] = Asset(name, content, media_type, version)
    return found


async def _serve_asset(request: Request) -> Response:
    asset = _assets().get(request.path_params["name"])
    if asset is None:
        return Response("Not found", 404, media_type="text/plain")
    current = request.query_params.get("v") == asset.version
    headers = {
        "ETag": f'"{asset.version}"',
        # An address with the content's own hash never changes what it means.
        "Cache-Control": "public, max-age=31536000, immutable" if current else "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


async def graphiql_page(request: Request) -> Response:  # noqa: ARG001 - Starlette's handler shape
    """Answer the page. Serve it at a sibling of `/graphql`, or at `/graphql` itself for a browser.

    The addresses in it are relative: the endpoint is `graphql` and the assets are `graphiql/…`
    beside the page, so a proxy may put any prefix in front.
    """
    assets = _assets()
    nonce = secrets.token_urlsafe(16)
    page = _PAGE.format(
        default_query=escape(DEFAULT_QUERY),
        graphiql_css=escape(assets["graphiql.css"].address),
        page_css=escape(assets["page.css"].address),
        graphiql_js=escape(assets["graphiql.js"].address),
        boot_js=escape(assets["boot.js"].address),
        nonce=nonce,
    )
    return HTMLResponse(
        page,
        headers={
            "Content-Security-Policy": "; ".join(_POLICY).format(nonce=nonce),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


def graphiql_routes() -> list[BaseRoute]:
    """Routes of the page (`/graphiql`) and its assets (`/graphiql/{name}`), GET and HEAD."""
    return [
        Route("/graphiql", graphiql_page, methods=["GET"], name="graphiql"),
        Route("/graphiql/{name}", _serve_asset, methods=["GET"], name="graphiql-asset"),
    ]
