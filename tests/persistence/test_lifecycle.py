from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.lifecycle.allocations import ALLOCATION
from persistence.lifecycle.assignments import ASSIGNMENT, RUBRIC_VERSION
from persistence.lifecycle.courses import ENROLLMENT, GRANT, INVITATION
from persistence.lifecycle.documents import DOCUMENT
from persistence.lifecycle.embeddings import EMBEDDING_INDEX
from persistence.lifecycle.grades import GRADE, GRADE_EVENTS_OF_AN_AI, GradeState
from persistence.lifecycle.grading import RUN, TASK, TASK_TERMINAL, TASK_WORKING, TaskState
from persistence.lifecycle.machine import InvalidTransition, Machine
from persistence.lifecycle.objects import OBJECT
from persistence.lifecycle.study import FACT, MESSAGE
from persistence.lifecycle.submissions import ATTEMPT, SUBMISSION
from persistence.lifecycle.uploads import UPLOAD

MACHINES: list[Machine[Any, Any]] = [
    ALLOCATION,
    ASSIGNMENT,
    ATTEMPT,
    DOCUMENT,
    EMBEDDING_INDEX,
    ENROLLMENT,
    FACT,
    GRADE,
    GRANT,
    INVITATION,
    MESSAGE,
    OBJECT,
    RUBRIC_VERSION,
    RUN,
    SUBMISSION,
    TASK,
    UPLOAD,
]


def reachable(machine: Machine[Any, Any]) -> set[StrEnum]:
    found, edge = {machine.initial}, [machine.initial]
    while edge:
        state = edge.pop()
        for (source, _), target in machine.table.items():
            if source == state and target not in found:
                found.add(target)
                edge.append(target)
    return found


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_every_state_can_be_reached(machine: Machine[Any, Any]) -> None:
    assert reachable(machine) == set(machine.states)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_every_event_is_possible_somewhere(machine: Machine[Any, Any]) -> None:
    assert {event for _, event in machine.table} == set(machine.events)


@given(st.sampled_from(MACHINES), st.data())
def test_a_pair_outside_the_table_is_a_typed_error(
    machine: Machine[Any, Any], data: st.DataObject
) -> None:
    state = data.draw(st.sampled_from(list(machine.states)))
    event = data.draw(st.sampled_from(list(machine.events)))
    if (state, event) in machine.table:
        assert machine.advance(state, event) == machine.table[state, event]
    else:
        with pytest.raises(InvalidTransition, match=machine.name):
            machine.advance(state, event)


@given(st.lists(st.sampled_from(sorted(GRADE_EVENTS_OF_AN_AI))))
def test_no_sequence_of_an_ai_moves_a_grade_past_marked(events: list[Any]) -> None:
    state = GRADE.initial
    for event in events:
        if (state, event) in GRADE.table:
            state = GRADE.advance(state, event)
    assert state in {GradeState.NOT_MARKED, GradeState.IN_MARKING, GradeState.MARKED}


def test_a_task_is_waiting_working_or_settled() -> None:
    waiting = {TaskState.PENDING, TaskState.FAILED_RETRYABLE}
    assert set(TASK_WORKING) | set(TASK_TERMINAL) | waiting == set(TaskState)
