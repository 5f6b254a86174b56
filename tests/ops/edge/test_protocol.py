"""The transition table of graphql-transport-ws."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.edge.protocol import (
    CLIENT_EVENTS,
    TRANSITIONS,
    Close,
    Event,
    Machine,
    State,
    Step,
    Violation,
    frame,
    read_message,
)

HAPPY = [Event.CONNECTION_INIT, Event.AUTHENTICATED]


def machine(*events: Event, operations: int = 3) -> Machine:
    made = Machine(operations)
    for event in events:
        made.on(event)
    return made


def code(outcome: object) -> int:
    assert isinstance(outcome, Close)
    return outcome.code


def test_every_state_knows_every_message_and_the_end_of_the_process() -> None:
    for state in State:
        for event in [*CLIENT_EVENTS, Event.INIT_TIMEOUT, Event.STOPPING, Event.EXPIRED]:
            assert (state, event) in TRANSITIONS


def test_a_connection_is_acknowledged_and_then_runs_operations() -> None:
    connection = machine()
    assert connection.on(Event.CONNECTION_INIT) is Step.AUTHENTICATE
    assert connection.on(Event.AUTHENTICATED) is Step.ACKNOWLEDGE
    assert connection.on(Event.SUBSCRIBE, "1") is Step.START
    assert connection.on(Event.COMPLETE, "1") is Step.STOP
    assert connection.on(Event.COMPLETE, "1") is Step.NOTHING
    assert connection.on(Event.SUBSCRIBE, "1") is Step.START


@pytest.mark.parametrize(
    ("events", "event", "expected"),
    [
        ([], Event.SUBSCRIBE, 4401),
        ([Event.CONNECTION_INIT], Event.SUBSCRIBE, 4401),
        ([Event.CONNECTION_INIT], Event.CONNECTION_INIT, 4429),
        (HAPPY, Event.CONNECTION_INIT, 4429),
        ([], Event.INIT_TIMEOUT, 4408),
        ([Event.CONNECTION_INIT], Event.INIT_TIMEOUT, 4408),
        (HAPPY, Event.EXPIRED, 4403),
        (HAPPY, Event.STOPPING, 1001),
        (HAPPY, Event.STALLED, 1013),
        (HAPPY, Event.FLOODED, 4429),
    ],
)
def test_close_codes(events: list[Event], event: Event, expected: int) -> None:
    assert code(machine(*events).on(event, "1")) == expected


def test_an_id_in_use_closes_with_4409_and_may_be_used_when_it_is_free() -> None:
    connection = machine(*HAPPY)
    connection.on(Event.SUBSCRIBE, "1")
    assert code(connection.on(Event.SUBSCRIBE, "1")) == 4409
    connection.finished("1")
    assert connection.on(Event.SUBSCRIBE, "1") is Step.START


def test_an_operation_beyond_the_limit_is_refused_alone() -> None:
    connection = machine(*HAPPY, operations=2)
    outcomes = [connection.on(Event.SUBSCRIBE, each) for each in "abc"]
    assert outcomes == [Step.START, Step.START, Step.REFUSE]
    connection.on(Event.COMPLETE, "a")
    assert connection.on(Event.SUBSCRIBE, "c") is Step.START


def test_the_init_timeout_means_nothing_once_acknowledged() -> None:
    assert machine(*HAPPY).on(Event.INIT_TIMEOUT) is Step.NOTHING


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(CLIENT_EVENTS)), st.sampled_from("abcde")), max_size=40
    )
)
def test_no_client_can_run_more_than_the_limit_or_before_it_is_known(
    sent: list[tuple[Event, str]],
) -> None:
    connection = machine(operations=2)
    for event, operation_id in sent:
        outcome = connection.on(event, operation_id)
        if isinstance(outcome, Close):
            return
        if outcome is Step.AUTHENTICATE:
            connection.on(Event.AUTHENTICATED)
        assert len(connection.running) <= 2
        assert not connection.running or connection.state is State.READY


@given(st.text())
def test_a_reason_fits_a_close_frame(reason: str) -> None:
    cut = Close(4400, reason).reason
    assert len(cut.encode()) <= 123
    assert reason.startswith(cut)


BAD_FRAMES = {
    "binary": None,
    "no JSON": "{",
    "null": "null",
    "a number": "5",
    "a string": '"x"',
    "a list": "[]",
    "no type": "{}",
    "an unknown type": '{"type":"start"}',
    "a type of another type": '{"type":5}',
    "a list as the type": '{"type":[]}',
    "a server's type": '{"type":"next","id":"1","payload":{}}',
    "our own event": '{"type":"authenticated"}',
    "init with a string": '{"type":"connection_init","payload":"x"}',
    "ping with a list": '{"type":"ping","payload":[]}',
    "complete without an id": '{"type":"complete"}',
    "complete with an empty id": '{"type":"complete","id":""}',
    "subscribe without an id": '{"type":"subscribe","payload":{"query":"{a}"}}',
    "subscribe with a number": '{"type":"subscribe","id":1,"payload":{"query":"{a}"}}',
    "subscribe with null": '{"type":"subscribe","id":"1","payload":null}',
    "subscribe without a payload": '{"type":"subscribe","id":"1"}',
    "subscribe without a query": '{"type":"subscribe","id":"1","payload":{}}',
    "a query of another type": '{"type":"subscribe","id":"1","payload":{"query":5}}',
    "variables of another type": (
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}'
    ),
    "a name of another type": (
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","operationName":5}}'
    ),
    "extensions of another type": (
        '{"type":"subscribe","id":"1","payload":{"query":"{a}","extensions":"x"}}'
    ),
    "nesting": "[" * 100_000,
    "an endless integer": '{"type":"ping","payload":{"x":' + "9" * 5_000 + "}}",
    "a lone surrogate": '{"type":"ping","payload":{"x":"\\ud800"}}',
}


@pytest.mark.parametrize("text", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_a_bad_frame_closes_with_4400(text: str | None) -> None:
    with pytest.raises(Violation) as caught:
        read_message(text)
    assert caught.value.close.code == 4400


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["type", "id", "payload", "query"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_message_or_a_violation(value: Any) -> None:
    try:
        message = read_message(json.dumps(value))
    except Violation:
        return
    assert message.event in CLIENT_EVENTS


def test_frames_carry_their_payload_as_it_is() -> None:
    text = frame("next", 'a"b', b'{"data":{"x":1}}')
    assert json.loads(text) == {"type": "next", "id": 'a"b', "payload": {"data": {"x": 1}}}
    assert json.loads(frame("connection_ack")) == {"type": "connection_ack"}
