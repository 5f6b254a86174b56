"""HTTP request metrics of a Starlette application, and its `/metrics` page."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator import metrics as http_metrics
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount

from observability.metrics import OTHER, Metrics

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED = "none"
# Asked every few seconds by machines: their times would drown those of people.
UNCOUNTED = ("^/metrics$", "^/live$", "^/ready$")


def instrument(app: Starlette, metrics: Metrics, *, path: str = "/metrics") -> None:
    """Count `app`'s HTTP requests by method, route template and status class, and serve `path`.

    Call it once, before the application starts, when every route is known. A streamed answer is
    passed on as it comes and is timed to its first byte; WebSockets are passed through uncounted
    (`Metrics.subscription_opened` counts what runs on them). `path` needs no token: keep it off
    the public side of the proxy. Raises `ValueError` where `metrics` counts an application already.
    """
    instrumentator = Instrumentator(
        should_group_status_codes=True,
        should_group_untemplated=True,
        should_exclude_streaming_duration=True,
        excluded_handlers=list(UNCOUNTED),
        registry=metrics.registry,
    )
    record = http_metrics.default(
        metric_namespace="assay",
        should_exclude_streaming_duration=True,
        latency_lowr_buckets=(0.01, 0.05, 0.1, 0.5, 1, 5),
        registry=metrics.registry,
    )
    if record is None:
        raise ValueError("These metrics already count another application.")
    instrumentator.add(_bounded(record, frozenset(_templates(app.routes))))
    instrumentator.instrument(app)
    instrumentator.expose(app, endpoint=path, include_in_schema=False)


def _bounded(
    record: Callable[[http_metrics.Info], None], templates: frozenset[str]
) -> Callable[[http_metrics.Info], None]:
    """Keep clients from inventing label values.

    The instrumentator takes any method a parser lets through, and labels a request that would be
    redirected for its trailing slash by its own path.
    """

    def bounded(info: http_metrics.Info) -> None:
        if info.method not in METHODS:
            info.method = OTHER
        if info.modified_handler not in templates:
            info.modified_handler = UNMATCHED
        # A Content-Length that is no number is counted by nobody and fails nobody.
        with suppress(ValueError):
            record(info)

    return bounded


def _templates(routes: Sequence[BaseRoute], prefix: str = "") -> Iterable[str]:
    for route in routes:
        path = prefix + str(getattr(route, "path", ""))
        yield path
        if isinstance(route, Mount):
            yield from _templates(route.routes, path)
