"""Prometheus series of this process, in a registry of its own, with bounded labels.

One `Metrics` is built at start and handed down. A label takes only values declared at start, or
the first few seen; every other value is counted under `other`, so no client can grow the number
of series without end. Durations are seconds, money is millionths of the currency's unit.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

OTHER: Final = "other"

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

SLOW = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)

KINDS = ("query", "mutation", "subscription")
PROVIDERS = ("gemini", "openai", "offline")
SEARCH_PARTS = ("embedding", "database")
SEARCHERS = ("api", "study", "grading")


class Label:
    """The values one label may take: those declared, and the first `room` others seen."""

    def __init__(self, declared: Iterable[str] = (), room: int = 0) -> None:
        self._values = set(declared)
        self._room = room

    def bound(self, value: str | None) -> str:
        """Return `value` if the label may take it, else `other`."""
        if value is None:
            return OTHER
        if value in self._values:
            return value
        if self._room > 0 and re.fullmatch(r"[\w.:/@+-]{1,80}", value):
            self._room -= 1
            self._values.add(value)
            return value
        return OTHER


class Metrics:
    """What this process counts. Build it once; its methods take plain values and never raise."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, with_process: bool = True
    ) -> None:
        """Declare the series in `registry` (a new one if none is given).

        `with_process` adds the memory, CPU and garbage collection of this process. Raises
        `ValueError` where the registry already has these series.
        """
        self.registry = registry or CollectorRegistry()
        self._kind = Label(KINDS)
        self._provider = Label(PROVIDERS)
        self._search_part, self._searcher = Label(SEARCH_PARTS), Label(SEARCHERS)
        # Clients choose an operation's name: the first come have a series, the rest share one.
        self._operation = Label(room=64)
        # What the program itself or its operator names: few, but not known here.
        self._model = Label(room=24)
        self._server = Label(room=24)
        self._name = Label(room=64)
        if with_process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._declare_edge()
        self._declare_storage()
        self._declare_work()

    def _counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"assay_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"assay_{name}", help_text, labels, registry=self.registry)

    def _declare_edge(self) -> None:
        names = ("operation", "kind", "outcome")
        self._operations = self._counter("graphql_operations", "GraphQL operations ended.", names)
        self._operation_seconds = Histogram(
            "assay_graphql_operation_seconds",
            "Time to answer a query or a mutation.",
            names[:2],
            registry=self.registry,
            buckets=FAST,
        )
        self._active = self._gauge(
            "subscriptions_active", "Subscriptions open on this process.", ("field",)
        )
        self._events = self._counter(
            "subscription_events", "Events delivered to subscribers.", ("field",)
        )
        self._limits = self._counter("limit_refusals", "Requests declined by a limit.", ("limit",))
        self._unforeseen = self._counter("unforeseen_errors", "Errors masked with an id.")

    def _declare_storage(self) -> None:
        self._pool_in_use = self._gauge("db_pool_in_use", "Database connections lent out.")
        self._pool_size = self._gauge("db_pool_size", "Database connections the pool may hold.")
        self._cache = self._counter("cache_reads", "Reads of a cache.", ("tier", "result"))
        self._search_seconds = Histogram(
            "assay_search_seconds",
            "Time of a passage search: embedding the query, and finding in the database.",
            ("part", "caller"),
            registry=self.registry,
            buckets=FAST,
        )

    def _declare_work(self) -> None:
        self._jobs = self._gauge("jobs", "Jobs in the queue.", ("entrypoint", "state"))
        self._job_age = self._gauge("job_oldest_seconds", "Age of the oldest job.", ("entrypoint",))
        names = ("provider", "model")
        self._calls = self._counter("model_calls", "Model calls answered.", names)
        self._tokens = self._counter("model_tokens", "Tokens by direction.", (*names, "direction"))
        self._cost = self._counter(
            "model_cost_micros", "Cost of model calls, in millionths.", names
        )

        self._attempts = self._counter(
            "model_attempts", "Requests to providers ended.", (*names, "outcome")
        )
        self._attempt_seconds = Histogram(
            "assay_model_attempt_seconds",
            "Time of a request to a provider.",
            names,
            registry=self.registry,
            buckets=SLOW,
        )
        self._retries = self._counter(
            "model_retries", "Requests to providers made again.", (*names, "reason")
        )
        self._fallbacks = self._counter(
            "model_fallbacks", "Calls handed to the next model of a chain.", names
        )
        self._settled = self._counter(
            "model_settled_micros",
            "Cost of requests to providers, failed ones too, in millionths.",
            names,
        )
        self._circuit_open = self._gauge(
            "model_circuit_open", "Whether this process leaves a server alone.", ("server",)
        )
        self._model_limit = self._gauge(
            "model_concurrency_limit", "Requests a server gets at once now.", ("server",)
        )
        self._budget = self._gauge(
            "model_budget_micros",
            "This month's budgets that are most used up, in millionths.",
            ("organization", "part"),
        )

    def graphql_operation(
        self, operation: str | None, kind: str, outcome: str, seconds: float
    ) -> None:
        """Count an operation that ended: `ok`, or a refusal's code. `operation` is its name."""
        name, of_kind = self._operation.bound(operation), self._kind.bound(kind)
        self._operations.labels(name, of_kind, self._name.bound(outcome)).inc()
        self._operation_seconds.labels(name, of_kind).observe(seconds)

    def subscription_opened(self, field: str) -> None:
        """Count a subscription that starts on this process."""
        self._active.labels(self._name.bound(field)).inc()

    def subscription_closed(self, field: str) -> None:
        """Count a subscription that ended, however it ended."""
        self._active.labels(self._name.bound(field)).dec()

    def subscription_event(self, field: str) -> None:
        """Count an event handed to a subscriber's transport."""
        self._events.labels(self._name.bound(field)).inc()

    def limit_refused(self, limit: str) -> None:
        """Count a request declined by the limit of this name."""
        self._limits.labels(self._name.bound(limit)).inc()

    def unforeseen_error(self) -> None:
        """Count an error that was masked."""
        self._unforeseen.inc()

    def watch_pool(self, in_use: Callable[[], int], size: int) -> None:
        """Show how many of a pool's `size` connections are lent out, asked at each scrape."""
        self._pool_in_use.set_function(in_use)
        self._pool_size.set(size)

    def cache_read(self, tier: str, *, hit: bool) -> None:
        """Count a read of the cache tier of this name."""
        self._cache.labels(self._name.bound(tier), "hit" if hit else "miss").inc()

    def search(self, part: str, caller: str, seconds: float) -> None:
        """Count a part of a passage search that ended: `embedding` or `database`, and for whom."""
        labels = (self._search_part.bound(part), self._searcher.bound(caller))
        self._search_seconds.labels(*labels).observe(seconds)

    def jobs_state(
        self, entrypoint: str, waiting: int, running: int, oldest_seconds: float
    ) -> None:
        """Set how many jobs wait and run, and the age of the oldest (0 for none)."""
        name = self._name.bound(entrypoint)
        self._jobs.labels(name, "waiting").set(waiting)
        self._jobs.labels(name, "running").set(running)
        self._job_age.labels(name).set(oldest_seconds)

    def model_call(
        self, provider: str, model: str, input_tokens: int, output_tokens: int, cost_micros: int
    ) -> None:
        """Count a model call that was answered, with what it used and cost."""
        names = (self._provider.bound(provider), self._model.bound(model))
        self._calls.labels(*names).inc()
        self._tokens.labels(*names, "input").inc(input_tokens)
        self._tokens.labels(*names, "output").inc(output_tokens)
        self._cost.labels(*names).inc(cost_micros)

    def model_attempt(
        self, provider: str, model: str, outcome: str, seconds: float, cost_micros: int
    ) -> None:
        """Count a request to a provider that ended: answered, cancelled, or a kind of failure."""
        names = (self._provider.bound(provider), self._model.bound(model))
        self._attempts.labels(*names, self._name.bound(outcome)).inc()
        self._attempt_seconds.labels(*names).observe(seconds)
        self._settled.labels(*names).inc(cost_micros)

    def model_retry(self, provider: str, model: str, reason: str) -> None:
        """Count a request that is made again after a failure of this kind."""
        names = (self._provider.bound(provider), self._model.bound(model))
        self._retries.labels(*names, self._name.bound(reason)).inc()

    def model_fallback(self, provider: str, model: str) -> None:
        """Count a call that this model did not answer and the next one is asked."""
        names = (self._provider.bound(provider), self._model.bound(model))
        self._fallbacks.labels(*names).inc()

    def watch_model_server(
        self, server: str, is_open: Callable[[], bool], limit: Callable[[], int]
    ) -> None:
        """Show a server's circuit breaker and how many requests it gets, asked at each scrape."""
        name = self._server.bound(server)
        if name != OTHER:
            self._circuit_open.labels(name).set_function(lambda: float(is_open()))
            self._model_limit.labels(name).set_function(limit)

    def model_budgets(self, found: Iterable[tuple[str, int, int, int]]) -> None:
        """Set the budgets of a few organizations: their name, limit, what is spent and set aside.

        Those that were shown before and are not among them are shown no more.
        """
        self._budget.clear()
        for organization, *parts in found:
            for part, micros in zip(("limit", "spent", "reserved"), parts, strict=True):
                self._budget.labels(organization, part).set(micros)
