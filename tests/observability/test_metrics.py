import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.registry import CollectorRegistry

from observability.metrics import OTHER, Label, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(with_process=False)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_clients_cannot_grow_the_series_without_end(metrics: Metrics) -> None:
    metrics.graphql_operation("Gradebook", "query", "ok", 0.02)
    metrics.graphql_operation(None, "query", "ok", 0.02)
    for number in range(500):
        metrics.graphql_operation(f"Attack{number}", "query", "ok", 0.02)
    metrics.graphql_operation("No label\n", "query", "ok", 0.02)
    count = "assay_graphql_operations_total"
    assert value(metrics, count, operation="Gradebook", kind="query", outcome="ok") == 1
    assert value(metrics, count, operation="Attack62", kind="query", outcome="ok") == 1
    assert value(metrics, count, operation="Attack63", kind="query", outcome="ok") is None
    assert value(metrics, count, operation=OTHER, kind="query", outcome="ok") == 439


def test_a_model_is_named_while_there_is_room(metrics: Metrics) -> None:
    metrics.model_call("gemini", "gemini-3-pro", 900, 80, 1200)
    names = {"provider": "gemini", "model": "gemini-3-pro"}
    assert value(metrics, "assay_model_calls_total", **names) == 1
    assert value(metrics, "assay_model_tokens_total", **names, direction="input") == 900
    assert value(metrics, "assay_model_tokens_total", **names, direction="output") == 80
    assert value(metrics, "assay_model_cost_micros_total", **names) == 1200
    for number in range(100):
        metrics.model_call("someone", f"model-{number}", 0, 0, 0)
    (calls,) = (f for f in metrics.registry.collect() if f.name == "assay_model_calls")
    assert len({s.labels["model"] for s in calls.samples}) == 25
    assert {s.labels["provider"] for s in calls.samples} == {"gemini", OTHER}


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.unforeseen_error()
    assert value(second, "assay_unforeseen_errors_total") == 0
    assert value(first, "process_resident_memory_bytes") is not None
    shared = CollectorRegistry()
    Metrics(shared)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(shared)


@given(
    declared=st.sets(st.text(max_size=5), max_size=5),
    room=st.integers(0, 5),
    seen=st.lists(st.one_of(st.none(), st.text(max_size=6)), max_size=60),
)
def test_a_label_never_takes_more_values_than_it_declared(
    declared: set[str], room: int, seen: list[str | None]
) -> None:
    label = Label(declared, room)
    taken = [label.bound(one) for one in seen]
    assert len(set(taken) - {OTHER}) <= len(declared) + room
    for given_value, bound in zip(seen, taken, strict=True):
        assert bound in {given_value, OTHER}
        if given_value in declared:
            assert bound == given_value


def test_a_search_is_timed_by_part_and_caller(metrics: Metrics) -> None:
    metrics.search("embedding", "api", 0.02)
    metrics.search("database", "study", 0.004)
    for number in range(50):
        metrics.search(f"part-{number}", f"caller-{number}", 0.1)
    name = "assay_search_seconds"
    assert value(metrics, f"{name}_count", part="embedding", caller="api") == 1
    assert value(metrics, f"{name}_bucket", part="database", caller="study", le="0.005") == 1
    assert value(metrics, f"{name}_bucket", part="database", caller="study", le="0.0025") == 0
    assert value(metrics, f"{name}_count", part=OTHER, caller=OTHER) == 50


def test_requests_to_providers_are_counted_with_bounded_labels() -> None:
    metrics = Metrics(with_process=False)
    for number in range(60):
        metrics.model_attempt("gemini", f"made-up-{number}", "ANSWERED", 0.3, 12)
    metrics.model_attempt("openai", "made-up-0", "RATE_LIMITED", 0.1, 0)
    metrics.model_retry("openai", "made-up-0", "RATE_LIMITED")
    metrics.model_fallback("openai", "made-up-0")
    labels = {"provider": "openai", "model": "made-up-0"}
    reason = {**labels, "reason": "RATE_LIMITED"}
    read = metrics.registry.get_sample_value
    assert read("assay_model_retries_total", reason) == 1
    assert read("assay_model_fallbacks_total", labels) == 1
    assert read("assay_model_attempt_seconds_count", labels) == 1
    families = {one.name: one for one in metrics.registry.collect()}
    seen = {sample.labels["model"] for sample in families["assay_model_attempts"].samples}
    assert len(seen) == 25
