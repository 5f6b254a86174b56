"""The ASGI application: the GraphQL endpoint, health, metrics and GraphiQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from observability.instrumentation import instrument
from observability.logs import report_unforeseen
from ops.edge.edge import GraphQLEdge
from ops.edge.limits import EdgeLimits
from ops.file_routes import EXPOSED, FileRoutes
from ops.graphiql.page import graphiql_page, graphiql_routes
from ops.health import health_routes
from ops.probes import readiness_checks
from ops.request_contexts import RequestContexts
from ops.settings import Settings
from ops.sign_in.routes import SignInRoutes, Throttle
from ops.wiring import Resources
from resolvers.mutations import refusal_of
from resolvers.refusals import Refusal
from resolvers.uploads import Receiver
from schema.root import build_schema

ALLOWED_HEADERS = (
    "authorization",
    "content-type",
    "graphql-require-preflight",
    "if-range",
    "range",
    "tus-resumable",
    "upload-length",
    "upload-offset",
    "x-http-method-override",
)


def _understood(error: BaseException) -> Refusal | None:
    if not isinstance(error, Exception):
        return None
    known = refusal_of(error)
    return known if isinstance(known, Refusal) else None


def edge_limits(settings: Settings) -> EdgeLimits:
    """The edge's numbers as they are configured."""
    return EdgeLimits(
        body_bytes=settings.body_bytes,
        file_bytes=settings.upload_bytes,
        tokens=settings.document_tokens,
        depth=settings.document_depth,
        aliases=settings.document_aliases,
        root_fields=settings.document_root_fields,
        directives=settings.document_directives,
        variables=settings.document_variables,
        cost=settings.operation_cost,
        default_list=4,  # the lists without a page are short: criteria, levels, attempts
        errors=settings.returned_errors,
        operation_seconds=settings.operation_seconds,
        ws_init_seconds=settings.ws_init_seconds,
        ws_operations=settings.ws_subscriptions,
        ws_message_bytes=settings.ws_message_bytes,
        ws_messages_per_second=settings.ws_messages_per_second,
        ws_connections_per_user=settings.ws_connections,
    )


def build_edge(resources: Resources) -> GraphQLEdge:
    """The GraphQL endpoint over these resources."""
    schema = build_schema()
    metrics = resources.metrics

    def report(error: BaseException, error_id: str) -> None:
        metrics.unforeseen_error()
        report_unforeseen(error, error_id)

    return GraphQLEdge(
        schema._schema,  # noqa: SLF001 - strawberry offers graphql-core's schema under no other name
        RequestContexts(resources),
        edge_limits(resources.settings),
        report,
        page=graphiql_page if resources.settings.graphiql else None,
        understood=_understood,
        executor_class=schema.execution_context_class,
        metrics=metrics,
    )


def sign_in_routes(resources: Resources) -> Sequence[BaseRoute]:
    """`/auth/…` and the published keys."""
    settings = resources.settings
    return SignInRoutes(
        resources=resources.sign_in,
        login=resources.login,
        tokens=resources.tokens,
        keys=resources.keys,
        public_url=settings.public_url or f"http://{settings.host}:{settings.port}",
        origins=settings.cors_origins,
        throttle=Throttle(),
    ).routes()


def file_routes(resources: Resources) -> Sequence[BaseRoute]:
    """`/uploads/…` and `/originals/…`."""

    def report(error: BaseException, error_id: str) -> None:
        resources.metrics.unforeseen_error()
        report_unforeseen(error, error_id)

    receiver = Receiver(resources.database, resources.files)
    return FileRoutes(resources.links, receiver, report).routes()


def build_app(resources: Resources, edge: GraphQLEdge) -> Starlette:
    """The whole application. The caller drains `edge` before the server closes connections."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await edge.shutdown()

    origins = list(resources.settings.cors_origins)
    app = Starlette(
        routes=[
            *edge.routes(),
            *sign_in_routes(resources),
            *file_routes(resources),
            *health_routes(readiness_checks(resources.database, resources.bus)),
            *(graphiql_routes() if resources.settings.graphiql else []),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["POST", "GET", "HEAD", "PATCH", "DELETE"],
                allow_headers=ALLOWED_HEADERS,
                expose_headers=EXPOSED,
            )
        ],
        lifespan=lifespan,
    )
    instrument(app, resources.metrics)
    return app
