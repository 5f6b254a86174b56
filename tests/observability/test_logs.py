import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.logs import (
    accept_correlation_id,
    configure_logs,
    correlation,
    current_correlation_id,
    logger,
    new_correlation_id,
    report_unforeseen,
)
from observability.redaction import REDACTED, exception_report, loggable, redact

JWT = "eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
ESSAY = "The mitochondria wrote my homework"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logger.remove()


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("DEBUG", json=True, stream=stream)
    return stream


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail_with(text: str) -> None:
    essay = text
    raise ValueError(f"cannot grade {essay}")


def test_an_event_is_one_json_line_with_its_values(stream: io.StringIO) -> None:
    run_id = UUID(int=7)
    logger.info("run started\nwith two lines", run_id=run_id, tasks=3, ratio=0.5, live=True)
    logger.warning("second")
    first, second = events(stream)
    assert first["message"] == "run started\nwith two lines"
    assert first["run_id"] == str(run_id)
    assert (first["tasks"], first["ratio"], first["live"]) == (3, 0.5, True)
    assert first["level"] == "INFO"
    assert first["at"].endswith("+00:00")
    assert second["level"] == "WARNING"


def test_a_value_cannot_take_the_place_of_a_field_of_the_line(stream: io.StringIO) -> None:
    logger.bind(level="forged", logger="forged").info("real")
    (event,) = events(stream)
    assert event["level"] == "INFO"
    assert event["level_"] == "forged"


async def test_the_correlation_id_reaches_tasks_and_ends_with_its_block(
    stream: io.StringIO,
) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        logger.info("inside")
        logging.getLogger("uvicorn.error").info("inside, standard library")

    with correlation("request-1234"):
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
        with correlation("job-56789012"):
            assert current_correlation_id() == "job-56789012"
        assert current_correlation_id() == "request-1234"
    assert current_correlation_id() is None
    logger.info("outside")
    inside, standard, outside = events(stream)
    assert inside["correlation_id"] == standard["correlation_id"] == "request-1234"
    assert standard["logger"] == "uvicorn.error"
    assert "correlation_id" not in outside


async def test_a_generator_closed_in_another_context_does_not_raise() -> None:
    async def stream_of_one() -> Any:
        with correlation("subscription-1"):
            yield 1

    generator = stream_of_one()
    await asyncio.create_task(anext(generator))
    await asyncio.create_task(generator.aclose())


def test_new_ids_differ_and_only_plain_ones_are_accepted() -> None:
    assert new_correlation_id() != new_correlation_id()
    assert accept_correlation_id("abc-DEF_1.2") == "abc-DEF_1.2"
    for bad in (None, "", "short", "x" * 65, "new\nline0", "spa ce 123", '{"a":"b"}'):
        accepted = accept_correlation_id(bad)
        assert accepted != bad
        assert len(accepted) == 32


def test_an_unforeseen_error_is_logged_without_its_message_or_values(stream: io.StringIO) -> None:
    try:
        try:
            fail_with(ESSAY)
        except ValueError as cause:
            raise RuntimeError(f"while grading: {ESSAY}") from cause
    except RuntimeError as exc:
        report_unforeseen(exc, "err_1")
    (event,) = events(stream)
    assert event["error_id"] == "err_1"
    assert event["exception"]["type"] == "builtins.RuntimeError"
    assert event["exception"]["cause"]["type"] == "builtins.ValueError"
    assert event["exception"]["cause"]["frames"][-1].endswith(" fail_with")
    assert "mitochondria" not in stream.getvalue()


def test_an_exception_keeps_the_codes_that_hold_no_value() -> None:
    report = exception_report(FileNotFoundError(2, "No such file", "/home/ada/essay.txt"))
    assert report["errno"] == 2
    assert "ada" not in json.dumps(report)
    group = ExceptionGroup("two", [KeyError(ESSAY), OSError(28, "full")])
    assert [inner["type"] for inner in exception_report(group)["group"]] == [  # type: ignore[attr-defined]  # a JSON value
        "builtins.KeyError",
        "builtins.OSError",
    ]


def test_standard_logging_arrives_without_model_text_or_query_strings(
    stream: io.StringIO,
) -> None:
    logging.getLogger("autogen_core.events").warning({"messages": [ESSAY]})
    access = logging.getLogger("uvicorn.access")
    access.info(
        '%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", f"/graphql?query={ESSAY}", "1.1", 200
    )
    logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: %s", ESSAY)
    logging.getLogger("alembic.runtime.migration").info("Running upgrade %s", "0001")
    autogen, accessed, loop, alembic = events(stream)
    assert autogen["level"] == "WARNING"
    assert accessed["message"] == "1.2.3.4:5 GET /graphql HTTP/1.1 200"
    assert loop["message"] == "Task exception was never retrieved"
    assert alembic["message"] == "Running upgrade 0001"
    assert "mitochondria" not in stream.getvalue()


def test_a_record_that_does_not_fit_its_arguments_is_still_an_event(stream: io.StringIO) -> None:
    record = logging.LogRecord("pgqueuer", 30, __file__, 1, "%d jobs", ("none",), None)
    logging.getLogger().handlers[0].handle(record)
    (event,) = events(stream)
    assert event["message"] == "unreadable log record"


def test_levels(stream: io.StringIO) -> None:
    configure_logs("warning", json=True, stream=stream)
    logger.info("too low")
    logging.getLogger("uvicorn.error").info("too low")
    logger.error("seen")
    assert [event["message"] for event in events(stream)] == ["seen"]
    with pytest.raises(ValueError, match="one of TRACE"):
        configure_logs("loud", json=True)


def test_the_terminal_form_keeps_one_line_an_event_and_redacts() -> None:
    stream = io.StringIO()
    configure_logs("INFO", json=False, stream=stream)
    with correlation("request-1234"):
        logger.info(f"forged\nline Bearer {JWT}", path="a\x1b[31m", token="hunter2")  # noqa: S106 - a made-up secret to be redacted
        try:
            fail_with(ESSAY)
        except ValueError as exc:
            report_unforeseen(exc, "err_2")
    first, second, *rest = stream.getvalue().splitlines()
    assert "forged\\nline" in first
    assert "[request-1234]" in first
    assert "\x1b" not in stream.getvalue()
    assert "error_id=err_2" in second
    assert rest[0] == "  builtins.ValueError"
    assert not any(secret in stream.getvalue() for secret in (JWT, "hunter2", "mitochondria"))


def test_a_closed_stream_stops_nobody() -> None:
    stream = io.StringIO()
    configure_logs("INFO", json=True, stream=stream)
    stream.close()
    logger.info("into the void")


@pytest.mark.parametrize(
    ("sentence", "secret"),
    [
        (f"Authorization: Bearer {JWT}", JWT),
        ("authorization='Basic dXNlcjpwYXNz'", "dXNlcjpwYXNz"),
        ("{'Authorization': 'Bearer abc.def'}", "abc.def"),
        (f"token was {JWT} here", JWT),
        ("used assay_k3y1_S3cr3t-part_x", "S3cr3t"),
        ("postgresql+asyncpg://assay:p@ss/w:rd@db:5432/assay", "p@ss"),
        ("redis://:hunter2@cache:6379/0", "hunter2"),
        ("host=db password=hunter2 user=a", "hunter2"),
        ("POST https://generativelanguage/v1beta/models?key=AbCdEf123&alt=sse", "AbCdEf123"),
        ('{"api_key": "zzz-1234"}', "zzz-1234"),
        ("GEMINI_API_KEY=zzz-1234", "zzz-1234"),
        ("x-goog-api-key: AIzaSyA1234567890abcdef", "AIza"),
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop", "abcdefghijkl"),
        ("Set-Cookie: __Host-session=abcdef; Path=/", "abcdef"),
        ("cookie: a=1; session=abcdef", "abcdef"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----", "MC4CAQ"),
        ("client_secret=s3cr3t", "s3cr3t"),
        ("refresh_token: abc123", "abc123"),
    ],
)
def test_secrets_are_redacted(sentence: str, secret: str) -> None:
    assert secret not in redact(sentence)
    assert "[redacted]" in redact(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "run 0190-77 moved to RUNNING after 3 tries",
        "dedupe_key=task:0190:2 max_tokens=20",
        "listening on http://127.0.0.1:8000/graphql",
        "pool at 3 of 10",
    ],
)
def test_plain_sentences_are_left_alone(sentence: str) -> None:
    assert redact(sentence) == sentence


@given(st.text(max_size=400), st.text(alphabet="abcdef0123456789", min_size=12, max_size=40))
def test_a_bearer_token_never_survives_whatever_surrounds_it(around: str, secret: str) -> None:
    assert secret not in redact(f"{around} Bearer {secret} ") or secret in redact(around)


def test_redaction_is_bounded_on_hostile_input() -> None:
    for unit in (
        "a-",
        "a_",
        "eyJaaaaa.",
        "key=",
        "://",
        "password",
        "-----BEGIN PRIVATE KEY-----",
        "x:",
    ):
        assert len(redact(unit * 200_000)) <= 2_001


def test_values_are_bounded_scalars() -> None:
    assert loggable("text", ESSAY) == "[withheld]"
    assert loggable("system_prompt", ESSAY) == "[withheld]"
    assert loggable("api_key", "x") == loggable("key", "x") == REDACTED
    assert loggable("input_tokens", 12) == 12
    assert loggable("dedupe_key", "task:1") == "task:1"
    assert loggable("row", {"text": ESSAY}) == "<dict>"
    assert loggable("ids", [UUID(int=1), 2]) == [str(UUID(int=1)), 2]
    assert len(str(loggable("state", "x" * 10_000))) <= 301


def test_configuring_twice_prints_once(stream: io.StringIO) -> None:
    configure_logs("INFO", json=True, stream=stream)
    logging.getLogger("uvicorn").info("once")
    assert len(events(stream)) == 1
