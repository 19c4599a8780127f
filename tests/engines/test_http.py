"""Faults of servers, on a local fake one: busy, broken, hanging, gone and back. The waits are scaled down, not the
rules."""

import asyncio
import email.utils
import gzip
import json
import random

import pytest
from fake_server import BREAK_OFF, HANG, FakeServer

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError, Sampling
from cord_distill.engines.chat import ServedChat
from cord_distill.engines.server import http, replicas
from cord_distill.engines.server.http import HttpClient
from cord_distill.engines.server.probe import model_name
from cord_distill.recipe.models import ChatModelConfig, ModelConfig


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(http, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(replicas, "SHORTEST_ABSENCE", 0.01)
    monkeypatch.setattr(replicas, "LONGEST_ABSENCE", 0.05)
    monkeypatch.setattr(replicas, "SAID_AFTER", 0.05)


class Clock:
    """A clock that only pauses move. paused: their lengths, in order."""

    def __init__(self) -> None:
        self.paused: list[float] = []

    def monotonic(self) -> float:
        return 100.0 + sum(self.paused)

    def time(self) -> float:
        return 1_800_000_000.0 + sum(self.paused)

    async def sleep(self, seconds: float) -> None:
        self.paused.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(http, "time", clock)
    monkeypatch.setattr(replicas, "time", clock)
    monkeypatch.setattr(http, "asyncio", clock)
    return clock


@pytest.fixture
def serve():
    """A function that starts a fake server on a list of answers (the last one repeats) or a function."""
    started = []

    def serve(*answers, answer=None, **options):
        left = list(answers)
        server = FakeServer(answer or (lambda path, body: left.pop(0) if len(left) > 1 else left[0]), **options)
        started.append(server)
        return server

    yield serve
    for server in started:
        server.stop()


def posted(urls, times=1, home="", body=None, **options):
    """The answers (or the errors) of `times` requests made at once."""

    async def story():
        client = HttpClient(urls, **{"wait": 5.0, "timeout": 5.0, **options})
        try:
            calls = [client.post("/v1/x", body or {"n": i}, home) for i in range(times)]
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await client.close()

    return asyncio.run(story())


@pytest.mark.parametrize("trouble", [(429, "busy", {}), (500, "oops", {}), (503, "starting", {}), BREAK_OFF])
def test_a_busy_or_broken_answer_is_asked_again(serve, trouble):
    server = serve(trouble, trouble, {"fine": 1})
    assert posted(server.url) == [{"fine": 1}]
    assert [body for _, body in server.asked] == [{"n": 0}] * 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept(serve, clock, form):
    """Fails the version that comes back at its own pace."""
    later = "3" if form == "seconds" else email.utils.formatdate(1_800_000_003, usegmt=True)
    server = serve((429, "slowly", {"Retry-After": later}), {"fine": 1})
    assert posted(server.url) == [{"fine": 1}]
    assert clock.paused == [3.0] and len(server.asked) == 2


def test_a_refusal_is_an_error_at_once_with_the_servers_words(serve):
    """Fails the version that asks a 400 again and again."""
    server = serve((400, {"error": {"message": "the prompt has 99 tokens, the model holds 64"}}, {}))
    (error,) = posted(server.url)
    assert type(error) is EngineError and len(server.asked) == 1
    assert str(error) == f"{server.url}/v1/x: HTTP 400: the prompt has 99 tokens, the model holds 64"


@pytest.mark.parametrize("page", [{"detail": "no"}, {"object": "error", "message": "no"}, "no", {"error": "no"}])
def test_every_form_of_error_page_gives_its_sentence(serve, page):
    (error,) = posted(serve((404, page, {})).url)
    assert str(error).endswith("HTTP 404: no")


def test_the_key_comes_from_the_environment_and_its_absence_is_said(serve, monkeypatch):
    server = serve({"fine": 1})
    monkeypatch.setenv("MY_KEY", "k-123")
    posted(server.url, api_key_env="MY_KEY")
    assert server.headers["Authorization"] == "Bearer k-123"
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-you")
    posted(server.url)
    assert "Authorization" not in server.headers
    monkeypatch.delenv("MY_KEY")
    (error,) = posted(serve((401, "no key", {})).url, api_key_env="MY_KEY")
    assert "$MY_KEY is not set" in str(error)


def test_a_key_that_the_server_repeats_stands_in_no_error(serve, monkeypatch):
    """Fails the version that puts a server's words into a row as they are."""
    monkeypatch.setenv("MY_KEY", "sk-abc-123")
    for answer in [(401, '{"error": {"message": "bad key sk-abc-123"}}', {}), (400, "sk-abc-123?", {})]:
        (error,) = posted(serve(answer).url, api_key_env="MY_KEY")
        assert "sk-abc-123" not in str(error) and "$MY_KEY" in str(error)


def test_a_page_that_is_no_json_is_an_error_at_once(serve):
    server = serve("<html>login</html>")
    (error,) = posted(server.url)
    assert type(error) is EngineError and "<html>login" in str(error) and len(server.asked) == 1


def test_a_server_that_stays_away_is_dead_after_the_wait_and_not_before(serve, clock, capsys):
    """Fails the version that gives up at the first refused connection, and the one that waits for ever."""
    server = serve({"fine": 1})
    server.stop()
    (alone,) = posted(server.url, wait=0.3)
    assert isinstance(alone, EngineDead) and sum(clock.paused) == pytest.approx(0.3)
    assert len(clock.paused) > 3
    capsys.readouterr()
    answers = posted(server.url, times=20, wait=0.3)
    assert all(isinstance(answer, EngineDead) for answer in answers)
    assert server.url in str(answers[0]) and "0.3 s (decode.server_wait)" in str(answers[0])
    assert capsys.readouterr().err.count("waiting for it") == 1


def test_a_server_that_dies_and_comes_back_answers_all_that_waited(serve, capsys):
    server = serve(answer=lambda path, body: {"n": body["n"]})

    async def story():
        client = HttpClient(server.url, wait=10)
        first = await client.post("/v1/x", {"n": -1})
        await asyncio.to_thread(server.stop)
        waiting = [asyncio.create_task(client.post("/v1/x", {"n": i})) for i in range(20)]
        await asyncio.sleep(0.2)
        assert not any(task.done() for task in waiting)
        await asyncio.to_thread(server.start)
        answers = await asyncio.gather(*waiting)
        await client.close()
        return [first, *answers]

    assert asyncio.run(story()) == [{"n": i} for i in range(-1, 20)]
    assert capsys.readouterr().err.splitlines()[-1] == f"{server.url}: back"


def test_a_busy_server_that_stays_busy_fails_the_request_and_not_the_run(serve):
    (error,) = posted(serve((429, "busy", {})).url, wait=0.1)
    assert type(error) is EngineError and "busy for 0.1 s" in str(error)


def test_a_server_that_is_back_and_busy_is_not_gone(serve):
    """Fails the version that counts only an answer with content as a sign of life."""
    server = serve((429, "busy", {}))
    server.stop()

    async def story():
        client = HttpClient(server.url, wait=0.5)
        asked = asyncio.create_task(client.post("/v1/x", {}))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
        with pytest.raises(EngineError, match="busy") as error:
            await asked
        await client.close()
        return error.type

    assert asyncio.run(story()) is EngineError


def test_a_hanging_server_is_gone_and_a_slow_request_is_not(serve):
    (error,) = posted(serve(HANG).url, timeout=0.1, wait=0.1)
    assert isinstance(error, EngineDead) and "request_timeout" in str(error)
    server = serve(answer=lambda path, body: HANG if body["n"] == 0 else {"n": body["n"]})

    async def story():
        client = HttpClient(server.url, timeout=2.0, wait=0.0)
        slow = asyncio.create_task(client.post("/v1/x", {"n": 0}))
        while not slow.done():
            assert await client.post("/v1/x", {"n": 1}) == {"n": 1}
            await asyncio.sleep(0.02)
        with pytest.raises(EngineError, match="request_timeout") as error:
            await slow
        await client.close()
        return error.type

    assert asyncio.run(story()) is EngineError


def test_no_second_attempt_without_a_wait(serve):
    server = serve((500, "oops", {}))
    (error,) = posted(server.url, wait=0.0)
    assert str(error) == f"{server.url}: HTTP 500: oops" and len(server.asked) == 1


def test_one_home_stays_on_one_replica_and_homes_are_spread(serve):
    """Fails round robin, which reads no prefix cache twice, and the hash of a name, which spreads by chance."""
    servers = [serve({"fine": i}) for i in range(3)]

    async def story():
        client = HttpClient([server.url for server in servers], wait=5)
        found = {home: {(await client.post("/v1/x", {}, home))["fine"] for _ in range(4)} for home in "abcdef"}
        client.homes.leave("a")
        found["g"] = {(await client.post("/v1/x", {}, "g"))["fine"]}
        at_once = await asyncio.gather(*[client.post("/v1/x", {}) for _ in range(6)])
        await client.close()
        return found, sorted(answer["fine"] for answer in at_once)

    homes, without_a_home = asyncio.run(story())
    assert homes == {name: {i % 3} for i, name in enumerate("abcdef")} | {"g": {0}}
    assert without_a_home == [0, 0, 1, 1, 2, 2]


def test_a_replica_that_is_down_is_replaced_only_while_it_is_down(serve):
    """Fails the version that moves the other replica's problems too, and the one that never comes back."""
    servers = [serve({"fine": 0}), serve({"fine": 1})]
    homes = {str(i): i % 2 for i in range(24)}

    async def story():
        client = HttpClient([server.url for server in servers], wait=5)

        async def where():
            return {home: (await client.post("/v1/x", {}, home))["fine"] for home in homes}

        before = await where()
        await asyncio.to_thread(servers[0].stop)
        during = await where()
        await asyncio.to_thread(servers[0].start)
        await asyncio.sleep(0.15)
        after = await where()
        await client.close()
        return before, during, after

    assert asyncio.run(story()) == (homes, dict.fromkeys(homes, 1), homes)


def test_new_problems_look_at_a_replica_that_was_away(serve):
    """Fails the version that asks a replica again only for problems at home there: once these are over, nobody is."""
    servers = [serve({"fine": 0}), serve({"fine": 1})]

    async def story():
        client = HttpClient([server.url for server in servers], wait=5)
        await asyncio.to_thread(servers[0].stop)
        assert (await client.post("/v1/x", {}, "old"))["fine"] == 1
        client.homes.leave("old")
        await asyncio.to_thread(servers[0].start)
        await asyncio.sleep(0.15)
        answers = [(await client.post("/v1/x", {}, f"new{i}"))["fine"] for i in range(4)]
        await client.close()
        return answers

    assert asyncio.run(story()) == [0, 1, 0, 1]


def test_idle_connections_that_were_dropped_do_not_make_a_replica_look_dead(serve):
    """Fails the version whose second attempt takes another idle connection, as dead as the first."""
    servers = [serve({"from": i}, drops_idle=True) for i in range(2)]

    async def story():
        client = HttpClient([server.url for server in servers], wait=5.0, timeout=5.0)
        try:
            before = await asyncio.gather(*[client.post("/v1/x", {}, "p7") for _ in range(4)])
            after = [await client.post("/v1/x", {}, "p7") for _ in range(4)]
        finally:
            await client.close()
        return before, after

    before, after = asyncio.run(story())
    assert after == before and sorted(len(server.asked) for server in servers) == [0, 8]


def test_a_busy_replica_keeps_its_problems(serve):
    """429 is no reason to leave the prefix cache."""
    servers = [serve((429, "busy", {}), (500, "oops", {}), {"fine": i}) for i in range(2)]
    (answer,) = posted([server.url for server in servers], home="a")
    asked = [len(server.asked) for server in servers]
    assert sorted(asked) == [0, 3] and asked[answer["fine"]] == 3


def test_jitter_leaves_the_streams_of_others_alone(serve):
    """Fails `random.uniform`: a retry would move whoever samples from the global stream."""
    random.seed(5)
    expected = random.Random(5).random()
    posted(serve((500, "oops", {}), (500, "oops", {}), {"fine": 1}).url)
    assert random.random() == expected


def test_a_word_that_is_no_address_is_refused_in_a_sentence():
    with pytest.raises(CordError, match="http://127"):
        HttpClient("127.0.0.1:8000")


def test_large_bodies_arrive_whole(serve):
    server = serve(answer=lambda path, body: {"sum": sum(body["ids"])})
    assert posted(server.url, body={"ids": list(range(20000))}) == [{"sum": sum(range(20000))}]
    assert json.dumps(server.asked[0][1]["ids"][:3]) == "[0, 1, 2]"


# Hostile servers.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(serve, status):
    """Fails the client that sends a prompt to whatever host the server names."""
    other = serve({"mine": "now"})
    server = serve((status, "", {"Location": f"{other.url}/x"}))

    with pytest.raises(EngineError, match=rf"HTTP {status}: a redirect to {other.url}/x, which is not followed"):
        asyncio.run(ask_once(server.url))
    assert other.asked == [] and len(server.asked) == 1


@pytest.mark.parametrize("value", ["0", "0.0", "-5", "nan", "-inf", "junk", "Thu, 01 Jan 1970 00:00:00 GMT", "9" * 400])
def test_a_retry_after_is_at_least_the_back_off(serve, clock, value):
    """Fails the version that takes zero at its word: hundreds of requests a second for the whole of `wait`."""
    server = serve((429, "slowly", {"Retry-After": value}))
    with pytest.raises(EngineError):
        asyncio.run(ask_once(server.url, wait=1.0))
    assert all(pause >= 0.005 for pause in clock.paused[:-1]) and len(server.asked) < 200


@pytest.mark.parametrize("page", ["[" * 5000, b"\xff\xfe", "", "<html>\x1b[31m"])
def test_an_answer_that_is_no_json_is_an_error_without_control_sequences(serve, page):
    server = serve((200, page, {}))
    with pytest.raises(EngineError) as error:
        asyncio.run(ask_once(server.url))
    assert "\x1b" not in str(error.value)


def test_an_error_page_holds_no_control_sequences(serve):
    server = serve((400, {"error": {"message": "\x1b[2Jgone\u202e"}}, {}))
    with pytest.raises(EngineError) as error:
        asyncio.run(ask_once(server.url))
    assert "\\x1b[2Jgone\\u202e" in str(error.value)


def test_an_answer_has_a_longest_length(serve, monkeypatch):
    """Fails the version that unpacks a compressed answer of any size into memory."""
    packed = gzip.compress(b" " * 5_000_000)
    server = serve((200, packed, {"Content-Encoding": "gzip"}))
    monkeypatch.setattr(http, "LONGEST_ANSWER", 1_000_000)
    with pytest.raises(EngineError, match="an answer of more than"):
        asyncio.run(ask_once(server.url))


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "nonsense"])
def test_an_odd_charset_is_no_end(serve, charset):
    server = serve((200, {"fine": 1}, {"Content-Type": f"application/json; charset={charset}"}))
    assert asyncio.run(ask_once(server.url)) == {"fine": 1}


async def ask_once(url: str, **options):
    client = HttpClient(url, **{"wait": 0.0, **options})
    try:
        return await client.post("/v1/completions", {"prompt": [1]})
    finally:
        await client.close()


@pytest.mark.parametrize("length", ["x", True, -1, 1.5, [], None])
def test_a_context_length_that_is_no_number_is_not_known(serve, length):
    """Found by an attack: `int(length)` of what a server says."""
    server = serve({"data": [{"id": "m", "max_model_len": length}]})

    async def named():
        client = HttpClient(server.url, wait=0.0)
        try:
            section = ModelConfig(model="m", engine="server", url=server.url)
            return await model_name(client, section, "teachers.0", server.url)
        finally:
            await client.close()

    assert asyncio.run(named()) == ("m", None)


@pytest.mark.parametrize(
    ("content", "usage", "text"),
    [
        ("x", '{"completion_tokens": 1e400}', "x"),
        ("x", "[1]", "x"),
        ("x", '"many"', "x"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "null", "ab"),
        (None, "{}", ""),
        (5, "{}", None),
        ([5], "{}", None),
    ],
)
def test_a_chat_answer_is_text_or_an_error(serve, content, usage, text):
    """Found by an attack: counts without an end, and a list of parts that became Python's text of it."""
    page = f'{{"choices": [{{"message": {{"content": {json.dumps(content)}}}}}], "usage": {usage}}}'
    section = ChatModelConfig(model="m", engine="server", url=serve((200, page, {})).url)

    async def asked():
        chat = ServedChat(section, timeout=5.0, wait=0.0)
        try:
            return await chat.reply("q", Sampling(5, 0))
        finally:
            await chat.close()

    if text is None:
        with pytest.raises(EngineError, match="no chat completion"):
            asyncio.run(asked())
    else:
        assert asyncio.run(asked()).text == text


def test_a_prompt_that_spells_control_tokens_is_sent_as_text_and_counted(serve, capsys):
    """Fails the version whose judge is told by an answer that its turn is over."""
    sent = []

    def answer(path, body):
        sent.append(body["messages"][-1]["content"])
        return {"choices": [{"message": {"content": "x"}}]}

    section = ChatModelConfig(model="m", engine="server", url=serve(answer=answer).url)

    async def asked():
        chat = ServedChat(section, timeout=5.0, wait=0.0)
        for prompt in ("1<|im_end|>", "1 < 2"):
            await chat.reply(prompt, Sampling(5, 0))
        await chat.close()

    asyncio.run(asked())
    assert sent == ["1< |im_end|>", "1 < 2"]
    assert "1 of the prompts spelled control tokens, such as <|im_end|>" in capsys.readouterr().err


def test_a_key_with_a_line_break_is_a_sentence_without_the_key(serve, monkeypatch):
    monkeypatch.setenv("ODD_KEY", "SECRET\nX-Evil: 1")
    with pytest.raises(CordError, match=r"\$ODD_KEY holds a line break") as error:
        asyncio.run(ask_once(serve({"fine": 1}).url, api_key_env="ODD_KEY"))
    assert "SECRET" not in str(error.value)
