import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from observability.metrics import OTHER, Label, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(
        operations=("GradingRun", "Gradebook"), subscriptions=("gradingRun",), with_process=False
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_an_unregistered_operation_is_counted_as_other(metrics: Metrics) -> None:
    metrics.graphql_operation("Gradebook", "query", "ok", 0.02)
    metrics.graphql_operation(None, "query", "ok", 0.02)
    for number in range(50):
        metrics.graphql_operation(f"Attack{number}", "query", f"odd{number}", 0.02)
    count = "assay_graphql_operations_total"
    assert value(metrics, count, operation="Gradebook", kind="query", outcome="ok") == 1
    assert value(metrics, count, operation=OTHER, kind="query", outcome="ok") == 1
    assert value(metrics, count, operation=OTHER, kind="query", outcome=OTHER) == 50
    seconds = "assay_graphql_operation_seconds_count"
    assert value(metrics, seconds, operation=OTHER, kind="query") == 51
    metrics.register_operations(["Attack1"])
    metrics.graphql_operation("Attack1", "query", "ok", 0.02)
    assert value(metrics, count, operation="Attack1", kind="query", outcome="ok") == 1


def test_subscriptions_are_active_until_closed(metrics: Metrics) -> None:
    metrics.subscription_opened("gradingRun")
    metrics.subscription_opened("gradingRun")
    metrics.subscription_closed("gradingRun")
    metrics.subscription_events("gradingRun", delivered=40, lag_seconds=-0.001)
    assert value(metrics, "assay_subscriptions_active", field="gradingRun") == 1
    assert value(metrics, "assay_subscription_events_total", field="gradingRun") == 40
    assert value(metrics, "assay_subscription_lag_seconds_sum", field="gradingRun") == 0


def test_a_model_call_counts_tokens_cost_and_retries(metrics: Metrics) -> None:
    metrics.model_call(
        "gemini",
        "gemini-3-pro",
        "ok",
        1.5,
        input_tokens=900,
        output_tokens=80,
        cost_micros=1200,
        retries=2,
    )
    names = {"provider": "gemini", "model": "gemini-3-pro"}
    assert value(metrics, "assay_model_calls_total", **names, outcome="ok") == 1
    assert value(metrics, "assay_model_tokens_total", **names, direction="input") == 900
    assert value(metrics, "assay_model_tokens_total", **names, direction="output") == 80
    assert value(metrics, "assay_model_cost_micros_total", **names, currency="USD") == 1200
    assert value(metrics, "assay_model_retries_total", **names) == 2
    for number in range(100):
        metrics.model_call("someone", f"model-{number}", "ok", 0.1)
    families = {f.name: f for f in metrics.registry.collect()}
    models = {s.labels["model"] for s in families["assay_model_calls"].samples}
    assert len(models) == 25
    assert {s.labels["provider"] for s in families["assay_model_calls"].samples} == {
        "gemini",
        OTHER,
    }


def test_every_series_is_exposed_in_the_text_format(metrics: Metrics) -> None:
    metrics.pool_state("request", 3, 10)
    metrics.pool_waited("request", 0.001)
    metrics.cache_read("process", hit=True)
    metrics.retrieved("exact", 0.004)
    metrics.sequenced(0.02)
    metrics.jobs_state("grade", "queued", 12, 3.5)
    metrics.run_ended("grading", "completed", 80.0)
    metrics.stage_ended("grading", "grade", 4.0)
    metrics.graders_compared(0.25)
    metrics.evidence_checked("rejected", 2)
    metrics.limit_refused("depth")
    metrics.unforeseen_error()
    text = generate_latest(metrics.registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    expected = {
        "assay_db_pool_in_use": 3,
        "assay_db_pool_size": 10,
        "assay_db_pool_wait_seconds_count": 1,
        "assay_cache_reads_total": 1,
        "assay_retrieval_seconds_count": 1,
        "assay_sequencer_lag_seconds_count": 1,
        "assay_jobs": 12,
        "assay_job_oldest_seconds": 3.5,
        "assay_runs_total": 1,
        "assay_run_seconds_sum": 80,
        "assay_stage_seconds_sum": 4,
        "assay_grader_divergence_sum": 0.25,
        "assay_evidence_spans_total": 2,
        "assay_limit_refusals_total": 1,
        "assay_unforeseen_errors_total": 1,
    }
    samples = {s.name: s.value for family in families.values() for s in family.samples}
    assert {name: samples.get(name) for name in expected} == expected
    assert all(family.documentation for family in families.values())


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
