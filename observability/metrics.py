"""Prometheus series of this process, in a registry of its own, with bounded labels.

One `Metrics` is built at start and handed down. A label takes only values declared at start, or
(`model`) the first few seen; every other value is counted under `other`, so no client can grow
the number of series. Durations are seconds, money is millionths of the currency's unit.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

OTHER: Final = "other"

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MODEL = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
LONG = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0)
SHARE = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)

KINDS = ("query", "mutation", "subscription")
# Beside these an outcome is a refusal's code in lower case, as the caller declares them.
OUTCOMES = ("ok", "refused", "invalid", "error", "timeout", "cancelled")
POOLS = ("request", "worker", "direct")
PROVIDERS = ("gemini", "openai", "offline")


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

    def declare(self, values: Iterable[str]) -> None:
        """Allow these values too."""
        self._values.update(values)


class Metrics:
    """What this process counts. Build it once; its methods take plain values and never raise."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        operations: Iterable[str] = (),
        subscriptions: Iterable[str] = (),
        outcomes: Iterable[str] = (),
        with_process: bool = True,
    ) -> None:
        """Declare the series in `registry` (a new one if none is given).

        `operations` are the names of the registered documents, `subscriptions` the fields of the
        root Subscription type, `outcomes` any beside `OUTCOMES`. `with_process` adds the memory,
        CPU and garbage collection of this process. Raises `ValueError` where the registry already
        has these series.
        """
        self.registry = registry or CollectorRegistry()
        self._operation = Label(operations)
        self._kind = Label(KINDS)
        self._outcome = Label((*OUTCOMES, *outcomes))
        self._subscription = Label(subscriptions)
        self._pool = Label(POOLS)
        self._provider = Label(PROVIDERS)
        # Names an operator configures or a worker is built with: few, but not known here.
        self._model = Label(room=24)
        self._name = Label(room=64)
        if with_process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._declare_edge()
        self._declare_storage()
        self._declare_work()
        self._declare_models()

    def _counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"assay_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"assay_{name}", help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(
            f"assay_{name}", help_text, labels, registry=self.registry, buckets=buckets
        )

    def _declare_edge(self) -> None:
        names = ("operation", "kind", "outcome")
        self._operations = self._counter("graphql_operations", "GraphQL operations ended.", names)
        self._operation_seconds = self._histogram(
            "graphql_operation_seconds", "Time to answer a GraphQL operation.", names[:2], FAST
        )
        self._active = self._gauge(
            "subscriptions_active", "Subscriptions open on this process.", ("field",)
        )
        self._events = self._counter(
            "subscription_events", "Events delivered to subscribers.", ("field",)
        )
        self._event_lag = self._histogram(
            "subscription_lag_seconds", "From an event's commit to its delivery.", ("field",), FAST
        )
        self._limits = self._counter("limit_refusals", "Requests declined by a limit.", ("limit",))
        self._unforeseen = self._counter("unforeseen_errors", "Errors masked with an id.")

    def _declare_storage(self) -> None:
        self._pool_in_use = self._gauge("db_pool_in_use", "Connections lent out.", ("pool",))
        self._pool_size = self._gauge("db_pool_size", "Connections a pool may hold.", ("pool",))
        self._pool_wait = self._histogram(
            "db_pool_wait_seconds", "Wait for a connection.", ("pool",), FAST
        )
        self._cache = self._counter("cache_reads", "Reads of a cache.", ("tier", "result"))
        self._retrieval = self._histogram(
            "retrieval_seconds", "Time of a passage search by plan.", ("plan",), FAST
        )
        self._sequencer_lag = self._histogram(
            "sequencer_lag_seconds", "From an event's commit to its number.", (), FAST
        )

    def _declare_work(self) -> None:
        names = ("entrypoint", "state")
        self._jobs = self._gauge("jobs", "Jobs in the queue.", names)
        self._job_age = self._gauge("job_oldest_seconds", "Age of the oldest job.", names)
        self._runs = self._counter(
            "runs", "Grading runs and study answers ended.", ("kind", "outcome")
        )
        self._run_seconds = self._histogram(
            "run_seconds", "Time of a grading run or a study answer.", ("kind",), LONG
        )
        self._stage_seconds = self._histogram(
            "stage_seconds", "Time of one stage of a task or an answer.", ("kind", "stage"), MODEL
        )

    def _declare_models(self) -> None:
        names = ("provider", "model")
        self._calls = self._counter("model_calls", "Model calls ended.", (*names, "outcome"))
        self._call_seconds = self._histogram(
            "model_call_seconds", "Time of a model call, its retries included.", names, MODEL
        )
        self._tokens = self._counter("model_tokens", "Tokens by direction.", (*names, "direction"))
        self._cost = self._counter(
            "model_cost_micros", "Cost of model calls, in millionths.", (*names, "currency")
        )
        self._retries = self._counter("model_retries", "Retried attempts of calls.", names)
        self._divergence = self._histogram(
            "grader_divergence",
            "Distance of two graders on a criterion, as a share of its points.",
            (),
            SHARE,
        )
        self._evidence = self._counter(
            "evidence_spans", "Quotes graders gave, by what the check found.", ("result",)
        )

    def register_operations(self, names: Iterable[str]) -> None:
        """Give these operation names a label value of their own."""
        self._operation.declare(names)

    def graphql_operation(
        self, operation: str | None, kind: str, outcome: str, seconds: float
    ) -> None:
        """Count an answered operation. `operation` is the document's name, if it has one."""
        name, of_kind = self._operation.bound(operation), self._kind.bound(kind)
        self._operations.labels(name, of_kind, self._outcome.bound(outcome)).inc()
        self._operation_seconds.labels(name, of_kind).observe(seconds)

    def subscription_opened(self, field: str) -> None:
        """Count a subscription that starts on this process."""
        self._active.labels(self._subscription.bound(field)).inc()

    def subscription_closed(self, field: str) -> None:
        """Count a subscription that ended, however it ended."""
        self._active.labels(self._subscription.bound(field)).dec()

    def subscription_events(
        self, field: str, delivered: int = 1, lag_seconds: float | None = None
    ) -> None:
        """Count an event sent to `delivered` subscribers, `lag_seconds` after its commit."""
        name = self._subscription.bound(field)
        self._events.labels(name).inc(delivered)
        if lag_seconds is not None:
            self._event_lag.labels(name).observe(max(lag_seconds, 0.0))

    def limit_refused(self, limit: str) -> None:
        """Count a request declined by the limit of this name."""
        self._limits.labels(self._name.bound(limit)).inc()

    def unforeseen_error(self) -> None:
        """Count an error that was masked."""
        self._unforeseen.inc()

    def pool_state(self, pool: str, in_use: int, size: int) -> None:
        """Set how many connections of a pool (one of `POOLS`) are lent out, of how many."""
        name = self._pool.bound(pool)
        self._pool_in_use.labels(name).set(in_use)
        self._pool_size.labels(name).set(size)

    def pool_waited(self, pool: str, seconds: float) -> None:
        """Record how long a caller waited for a connection."""
        self._pool_wait.labels(self._pool.bound(pool)).observe(seconds)

    def cache_read(self, tier: str, *, hit: bool) -> None:
        """Count a read of the cache tier of this name."""
        self._cache.labels(self._name.bound(tier), "hit" if hit else "miss").inc()

    def retrieved(self, plan: str, seconds: float) -> None:
        """Record a passage search by the plan chosen for it."""
        self._retrieval.labels(self._name.bound(plan)).observe(seconds)

    def sequenced(self, lag_seconds: float) -> None:
        """Record how long after its commit an event got its number."""
        self._sequencer_lag.observe(max(lag_seconds, 0.0))

    def jobs_state(self, entrypoint: str, state: str, count: int, oldest_seconds: float) -> None:
        """Set how many jobs are in a state, and the age of the oldest (0 for none)."""
        labels = (self._name.bound(entrypoint), self._name.bound(state))
        self._jobs.labels(*labels).set(count)
        self._job_age.labels(*labels).set(oldest_seconds)

    def run_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a grading run or study answer (`kind`) that ended in `outcome`."""
        name = self._name.bound(kind)
        self._runs.labels(name, self._name.bound(outcome)).inc()
        self._run_seconds.labels(name).observe(seconds)

    def stage_ended(self, kind: str, stage: str, seconds: float) -> None:
        """Record the time of one stage of a task or answer."""
        self._stage_seconds.labels(self._name.bound(kind), self._name.bound(stage)).observe(seconds)

    def model_call(
        self,
        provider: str,
        model: str,
        outcome: str,
        seconds: float,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_micros: int = 0,
        currency: str = "USD",
        retries: int = 0,
    ) -> None:
        """Count a model call that ended, with what it used and cost."""
        names = (self._provider.bound(provider), self._model.bound(model))
        self._calls.labels(*names, self._outcome.bound(outcome)).inc()
        self._call_seconds.labels(*names).observe(seconds)
        self._tokens.labels(*names, "input").inc(input_tokens)
        self._tokens.labels(*names, "output").inc(output_tokens)
        self._cost.labels(*names, self._name.bound(currency)).inc(cost_micros)
        self._retries.labels(*names).inc(retries)

    def graders_compared(self, share: float) -> None:
        """Record how far two graders were apart on a criterion, 0 to 1 of its points."""
        self._divergence.observe(share)

    def evidence_checked(self, result: str, spans: int = 1) -> None:
        """Count quotes by what the check found: `verified`, `repaired` or `rejected`."""
        self._evidence.labels(self._name.bound(result)).inc(spans)
