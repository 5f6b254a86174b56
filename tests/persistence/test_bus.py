import asyncio
import json
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.bus import (
    CHUNK_BYTES,
    Bus,
    Payload,
    Subscription,
    answer_topic,
    publish_answer,
    split_text,
)
from tests.persistence.conftest import Part, Transport

SOON = 5.0


async def take(subscription: Subscription) -> Payload | None:
    async with asyncio.timeout(SOON):
        return await subscription.get()


async def test_a_payload_reaches_the_topic_in_both_processes_once_and_in_order(
    bus: Bus, other: Bus
) -> None:
    with bus.subscribe("t") as near, other.subscribe("t") as far, other.subscribe("u") as beside:
        for n in range(300):
            await bus.publish("t", {"n": n})
        await bus.publish("u", {"end": True})
        await bus.publish("t", {"n": "end"})
        expected = [*range(300), "end"]
        assert [p["n"] for p in [await take(near) for _ in range(256)] if p] == expected[-255:]
        assert await take(beside) == {"end": True}
        got = [await take(far)]
        while got[-1] != {"n": "end"}:
            got.append(await take(far))
        numbers = [p["n"] for p in got if p is not None]
        assert numbers == expected[-len(numbers) :]


async def test_a_slow_subscriber_loses_the_oldest_and_is_told() -> None:
    subscription = Subscription(3)
    for n in range(5):
        subscription.offer({"n": n})
    assert [await take(subscription) for _ in range(3)] == [None, {"n": 3}, {"n": 4}]
    assert not await subscription.wake(0)


async def test_identical_hints_that_wait_become_one(bus: Bus, other: Bus) -> None:
    with other.subscribe("t") as far:
        for _ in range(50):
            await bus.publish("t", {"same": 1})
        await bus.publish("t", {"last": 1})
        got = [await take(far)]
        while got[-1] != {"last": 1}:
            got.append(await take(far))
        assert len(got) <= 3  # what was being sent, what waited, the last


async def test_a_payload_larger_than_a_notification_is_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="larger"):
        await bus.publish("t", {"text": "é" * 4_000})


@pytest.mark.parametrize("part", ["listener", "sender"])
async def test_the_bus_comes_back_after_its_connections_were_cut(
    transport: Transport, bus: Bus, other: Bus, part: Part
) -> None:
    with other.subscribe("t") as far:
        await bus.publish("t", {"n": 1})
        assert await take(far) == {"n": 1}
        assert await transport.cut(part) >= 1
        if part == "listener":
            assert await take(far) is None  # woken, to look for what was missed
        await bus.publish("t", {"n": 2})
        assert await take(far) == {"n": 2}
    assert other.fault is None


async def test_overflow_wakes_the_other_processes(
    bus: Bus, other: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.bus.OUTBOX_MESSAGES", 10)
    with other.subscribe("elsewhere") as far:
        for n in range(25):
            await bus.publish("t", {"n": n})
        assert await take(far) is None


FOREIGN = ["", "{", "[]", "[1,2,3,4]", "7", '["x","t",5]', '["x",["t"],{}]', "[" * 5_000]


async def test_a_foreign_message_does_not_end_the_listener(
    transport: Transport, bus: Bus, other: Bus
) -> None:
    for nonsense in [*(f.encode() for f in FOREIGN), b"\xff\xfe"]:
        await transport.send(nonsense)
    with other.subscribe("t") as far:
        await bus.publish("t", {"n": 1})
        assert await take(far) == {"n": 1}


async def test_a_long_answer_arrives_in_pieces_that_join(bus: Bus, other: Bus) -> None:
    message_id, text = uuid4(), 'Ὀδυσσεύς "said"\n' * 1_000
    with other.subscribe(answer_topic(message_id)) as far:
        await publish_answer(bus, message_id, generation=2, offset=10, text=text)
        joined = ""
        while len(joined) < len(text):
            piece = await take(far)
            assert piece is not None
            assert (piece["generation"], piece["offset"]) == (2, 10 + len(joined))
            joined += piece["text"]
        assert joined == text


@given(st.text(max_size=300), st.integers(12, 60))
def test_pieces_join_to_the_text_and_fit(text: str, limit: int) -> None:
    pieces = list(split_text(text, limit))
    assert "".join(piece for _, piece in pieces) == text
    for start, piece in pieces:
        assert text[start : start + len(piece)] == piece
        assert len(json.dumps(piece, ensure_ascii=False).encode()) <= limit


def test_control_characters_that_json_escapes_count_as_they_are_sent() -> None:
    pieces = list(split_text("\x00" * 3_000, CHUNK_BYTES))
    assert max(len(json.dumps(piece)) for _, piece in pieces) <= CHUNK_BYTES
