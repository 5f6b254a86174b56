"""The GraphQL endpoint: one schema behind HTTP, event streams and WebSockets."""

from typing import Any

from graphql import GraphQLSchema
from graphql.execution import Executor
from starlette.routing import BaseRoute, Route, WebSocketRoute

from observability.metrics import Metrics
from ops.edge.contexts import Contexts, Report, Understood
from ops.edge.errors import ErrorFormatter
from ops.edge.execution import Engine
from ops.edge.http import HttpTransport, Page
from ops.edge.lifetime import Lifetime
from ops.edge.limits import EdgeLimits
from ops.edge.websocket import SocketTransport
from resolvers.refusals import Refusal

SHUTDOWN_SECONDS = 5.0


def nothing_understood(_: BaseException) -> Refusal | None:
    """Only `Refusal`s are understood."""
    return None


class GraphQLEdge:
    """Serves `schema` at `path`.

    `contexts` tells who calls and makes the context values, `report` takes what was masked.
    `page` answers a browser's GET. `understood` names the refusal behind an exception of a
    library (None: masked). `executor_class` is graphql-core's, or a framework's own: for
    Strawberry pass `schema.execution_context_class`, which its `Info` relies on. `metrics` counts
    operations and subscriptions.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        contexts: Contexts,
        limits: EdgeLimits,
        report: Report,
        *,
        page: Page | None = None,
        understood: Understood = nothing_understood,
        executor_class: type[Executor[Any]] | None = None,
        path: str = "/graphql",
        metrics: Metrics | None = None,
    ) -> None:
        errors = ErrorFormatter(report, understood, limits.errors)
        self._path = path
        self._lifetime = Lifetime()
        self._engine = Engine(
            schema, contexts, limits, errors, metrics or Metrics(), executor_class
        )
        self._http = HttpTransport(self._engine, contexts, limits, errors, self._lifetime, page)
        self._socket = SocketTransport(self._engine, contexts, limits, errors, self._lifetime)

    def routes(self) -> list[BaseRoute]:
        """The endpoint's routes, for HTTP (all methods, so that a wrong one is a typed 405)."""
        return [
            Route(self._path, self._http, name="graphql"),
            WebSocketRoute(self._path, self._socket, name="graphql-socket"),
        ]

    async def shutdown(self) -> None:
        """End event streams and sockets (1001), then wait for the mutations under way.

        uvicorn tells an application of its end only after all connections are closed, so this
        must run before that: see `DrainingServer`. Calling it again does no harm.
        """
        await self._lifetime.end(SHUTDOWN_SECONDS)
        await self._engine.drain()
