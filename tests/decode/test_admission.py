"""Admission by KV tokens: who comes in, who waits, and that nobody waits for ever."""

import asyncio
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cord_distill.decode.admission import Admission, Caches, EngineShare, growth, problems_in_flight, slots_of
from cord_distill.engines.homes import Homes
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.models import ModelConfig


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def enter(admission, names, inside, leave):
    async def one(name):
        async with admission.inside(name):
            inside.append(name)
            await leave[name].wait()
        inside.remove(name)

    tasks = [asyncio.create_task(one(name)) for name in names]
    await settle()
    return tasks


def test_as_many_come_in_as_there_is_room_for_and_the_next_when_one_leaves():
    """Fails the version that counts every problem at its full budget from the start: of these three, one would run."""

    async def story():
        admission, inside = Admission([Caches(25)], growth=10), []
        leave = {name: asyncio.Event() for name in "abc"}
        tasks = await enter(admission, "abc", inside, leave)
        assert inside == ["a", "b"]
        leave["a"].set()
        await settle()
        assert inside == ["b", "c"]
        leave["b"].set()
        leave["c"].set()
        await asyncio.gather(*tasks)
        assert admission.figures()["most_tokens"] == 20

    run(story())


def test_a_problem_larger_than_the_cache_comes_in_alone():
    async def story():
        admission, inside = Admission([Caches(5)], growth=10), []
        leave = {name: asyncio.Event() for name in "ab"}
        tasks = await enter(admission, "ab", inside, leave)
        assert inside == ["a"]
        await admission.room_for("a", 1000)  # returns: nobody else could make room
        leave["a"].set()
        await settle()
        assert inside == ["b"]
        leave["b"].set()
        await asyncio.gather(*tasks)

    run(story())


def test_where_they_outgrow_the_cache_the_younger_waits_until_the_older_is_done():
    """Fails the version that only looks at the door: both would go on, and evict each other's prefixes."""

    async def story():
        admission, inside, said = Admission([Caches(30)], growth=10), [], []
        leave = {name: asyncio.Event() for name in "ab"}
        tasks = await enter(admission, "ab", inside, leave)
        await admission.room_for("b", 5)  # 10 + 15
        await admission.room_for("a", 12)  # 22 + 15: the oldest goes on, whoever made it too much

        async def younger():
            await admission.room_for("b", 6)
            said.append("b")

        waiting = asyncio.create_task(younger())
        await settle()
        assert said == []
        leave["a"].set()
        await settle()
        assert said == ["b"]
        leave["b"].set()
        await asyncio.gather(waiting, *tasks)

    run(story())


def test_an_unknown_cache_holds_nobody_back():
    async def story():
        admission, inside = Admission([], growth=10**9), []
        leave = {name: asyncio.Event() for name in "abc"}
        tasks = await enter(admission, "abc", inside, leave)
        await admission.room_for("c", 10**9)
        assert inside == ["a", "b", "c"]
        for event in leave.values():
            event.set()
        await asyncio.gather(*tasks)

    run(story())


def test_a_problem_that_fails_gives_its_room_back():
    async def story():
        admission = Admission([Caches(10)], growth=10)
        with pytest.raises(ZeroDivisionError):
            async with admission.inside("a"):
                1 / 0  # noqa: B018
        async with admission.inside("b"):
            pass

    run(story())


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 80), st.integers(1, 20), st.integers(1, 12), st.integers(0, 10**6))
def test_everybody_ends_and_those_that_run_fit(capacity, growth_, problems, seed):
    """Fails the version in which the younger wait for room without the oldest being let through: it stands still."""

    async def story():
        admission, rng, running = Admission([Caches(capacity)], growth_), random.Random(seed), {}
        ended = []

        async def one(name):
            length = 0
            async with admission.inside(name):
                for _ in range(rng.randint(1, 6)):
                    length += rng.randint(1, 15)
                    await admission.room_for(name, length)
                    running[name] = length + growth_
                    older = [held for other, held in running.items() if int(other) <= int(name)]
                    assert sum(older) <= capacity or name == next(iter(admission._held))
                    await asyncio.sleep(0)
                    del running[name]
            ended.append(name)

        await asyncio.gather(*(one(str(i)) for i in range(problems)))
        assert len(ended) == problems and admission._total == 0

    run(story())


def test_growth_is_two_steps_for_each_beam_and_a_whole_trace_for_the_rest():
    recipe = load_recipe("r1_qwen_14b")
    assert growth(recipe.decode) == 4 * 2 * 2048
    assert growth(load_recipe("r1_qwen_14b", ["decode.pipeline=curation"]).decode) == 4 * 20480
    assert growth(load_recipe("r1_qwen_14b", ["decode.budgets.max_step_tokens=16384"]).decode) == 4 * 20480


def test_at_most_twice_the_slots_of_the_widest_teacher_are_under_way():
    recipe = load_recipe("r1_qwen_14b")
    ensemble = SimpleNamespace(teachers=[SimpleNamespace(engine=None)] * len(recipe.teachers))
    assert problems_in_flight(recipe, ensemble) == 2 * 128 // 4
    assert problems_in_flight(load_recipe("r1_qwen_14b", ["decode.problems_in_flight=3"]), ensemble) == 3


def test_two_replicas_hold_twice_as_many_and_a_full_one_stops_only_its_own():
    """Fails the sum over all problems held against one replica's cache: half of the replicas would stand idle."""

    async def story():
        homes = Homes(2)
        admission, inside, said = Admission([Caches(25, homes)], growth=10), [], []
        leave = {name: asyncio.Event() for name in "abcde"}
        tasks = await enter(admission, "abcde", inside, leave)
        assert inside == list("abcd") and [homes.of(name) for name in "abcd"] == [0, 1, 0, 1]
        await admission.room_for("a", 12)  # replica 0 holds 22 + 10

        async def on(name):
            await admission.room_for(name, 3)
            said.append(name)

        waiting = [asyncio.create_task(on(name)) for name in "cd"]
        await settle()
        assert said == ["d"]
        homes.leave("a")
        leave["a"].set()
        await settle()
        assert said == ["d", "c"] and inside == list("bcde") and homes.of("e") == 0
        for event in leave.values():
            event.set()
        await asyncio.gather(*waiting, *tasks)

    run(story())


def test_the_model_with_the_least_room_decides_where_several_hold_a_problem():
    async def story():
        admission, inside = Admission([Caches(25, Homes(2)), Caches(35)], growth=10), []
        leave = {name: asyncio.Event() for name in "abcd"}
        tasks = await enter(admission, "abcd", inside, leave)
        assert inside == list("abc")
        for event in leave.values():
            event.set()
        await asyncio.gather(*tasks)

    run(story())


def test_drivers_of_one_run_divide_the_caches_and_the_problems_in_flight():
    """Fails the version in which each driver believes that the engines are its own: three would fill them threefold."""
    recipe = load_recipe("r1_qwen_14b")
    model = SimpleNamespace(engine=SimpleNamespace(kv_tokens=100_001))
    ensemble = SimpleNamespace(searching=(model,))
    shares = [EngineShare(number, 3) for number in range(3)]
    capacities = [Admission.of(recipe, ensemble, share).caches[0].capacity for share in shares]
    assert capacities == [26_667, 26_667, 26_666] and sum(capacities) == int(0.8 * 100_001)
    assert [share.part(64) for share in shares] == [22, 21, 21]
    assert EngineShare().part(64) == 64


def test_whoever_waits_at_the_door_comes_in_when_a_replica_is_added(monkeypatch):
    """Fails the version that wakes only when somebody leaves: a node that joins late would stay empty for as long."""

    async def story():
        monkeypatch.setattr("cord_distill.decode.admission.LOOK_AGAIN", 0.01)
        homes = Homes(1)
        admission, inside = Admission([Caches(10, homes)], growth=10), []
        leave = {name: asyncio.Event() for name in "ab"}
        tasks = await enter(admission, "ab", inside, leave)
        assert inside == ["a"]
        homes.add()
        while inside != ["a", "b"]:
            await asyncio.sleep(0.01)
        for event in leave.values():
            event.set()
        await asyncio.gather(*tasks)

    run(story())


def test_a_server_without_a_number_of_slots_is_taken_for_a_gpu_and_an_engine_says_its_own(monkeypatch):
    """Fails the version that asks the driver's own hardware for the slots of another machine."""
    monkeypatch.setattr("cord_distill.decode.admission.has_gpu", lambda: False)
    one = {"model": "a/b", "engine": "server"}
    assert slots_of(ModelConfig(**one, url=["http://a", "http://b"])) == 512
    assert slots_of(ModelConfig(**one, url="http://a", max_num_seqs=10)) == 10
    assert slots_of(ModelConfig(model="a/b")) == 64
    assert slots_of(ModelConfig(model="a/b", replicas=3), SimpleNamespace(slots=7)) == 21
