import time

import pytest
from chat_server import Said, chat, closed_url

from worldmodel.evaluators.endpoint import Endpoint, ask, parse_answer

ANSWERS = ("yes", "no")
CONTENT = [{"type": "text", "text": "Does it fall?"}]


def put(url: str, **settings):
    return ask(Endpoint(url, "eye", **{"backoff_s": 0.0, **settings}), CONTENT, ANSWERS)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_good_answer_with_its_bill():
    with chat(Said()) as server:
        reply = put(server.url)
    assert (reply.answer, reply.failure, reply.down, reply.attempts) == ("yes", None, False, 1)
    assert (reply.prompt_tokens, reply.completion_tokens) == (100, 7)


def test_what_is_sent():
    with chat(Said()) as server:
        put(server.url + "/", api_key="secret", parameters={"temperature": 0, "seed": 5})
        put(server.url, schema=False)
    request, plain = server.requests
    assert server.paths == ["/v1/chat/completions"] * 2
    assert request["model"] == "eye" and request["seed"] == 5 and "max_tokens" not in request
    assert request["messages"] == [{"role": "user", "content": CONTENT}]
    schema = request["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"answer": {"type": "string", "enum": ["yes", "no"]}}
    assert "response_format" not in plain
    assert server.headers[0]["Authorization"] == "Bearer secret" and "Authorization" not in server.headers[1]


@pytest.mark.parametrize("text", ['{"answer": "no"}', ' {"answer":"no"}\n'])
def test_answers_to_the_letter(text):
    assert parse_answer(text, ANSWERS) == "no"


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "yes, it does not fall",
        '"no"',
        "[]",
        "{}",
        '[["answer", "no"]]',
        '{"answer": "No"}',
        '{"answer": "no."}',
        '{"answer": "no", "why": "it floats"}',
        '{"answer": "yes", "answer": "no"}',
        '{"verdict": "no"}',
        '{"answer": ["no"]}',
        '{"answer": null}',
        '```json\n{"answer": "no"}\n```',
        'Sure! {"answer": "no"}',
        '{"answer": "no"',
        "[" * 100_000,
        "",
        None,
        7,
        ["no"],
    ],
)
def test_anything_else_is_no_answer(text):
    with pytest.raises(ValueError, match="answer: got "):
        parse_answer(text, ANSWERS)


def test_a_bad_answer_is_asked_for_again_and_billed():
    with chat(Said("It does."), Said('{"answer": "perhaps"}'), Said('{"answer": "no"}')) as server:
        reply = put(server.url)
    assert (reply.answer, reply.attempts, reply.prompt_tokens, reply.completion_tokens) == ("no", 3, 300, 21)


def test_bad_answers_for_ever_are_a_failure_of_this_question_alone():
    with chat(Said("It does.")) as server:
        reply = put(server.url, attempts=2)
    assert reply.answer is None and not reply.down and reply.attempts == len(server.requests) == 2
    assert reply.failure == "answer: got 'It does.', expected JSON; use a model that can hold to a format"


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"choices": []}', '{"choices": [{}]}', "null"])
def test_what_is_no_chat_completion_is_no_answer(body):
    with chat(Said(body=body)) as server:
        reply = put(server.url, attempts=1)
    assert reply.answer is None and "expected a chat completion" in reply.failure


def test_without_usage_the_bill_is_empty():
    with chat(Said(body='{"choices": [{"message": {"content": "{\\"answer\\": \\"no\\"}"}}]}')) as server:
        reply = put(server.url)
    assert (reply.answer, reply.prompt_tokens) == ("no", 0)


@pytest.mark.parametrize("status, down", [(429, False), (500, False), (503, True)])
def test_a_server_in_trouble_is_tried_again(status, down):
    with chat(Said(status=status), Said()) as server:
        assert put(server.url).answer == "yes" and len(server.requests) == 2
    with chat(Said(status=status)) as server:
        reply = put(server.url, attempts=3)
    assert reply.answer is None and reply.down is down and len(server.requests) == 3
    assert f"HTTP {status}" in reply.failure and "try again later" in reply.failure


@pytest.mark.parametrize(
    "status, down, advice", [(400, False, "schema=False"), (401, True, "api_key"), (404, True, "url")]
)
def test_a_refusal_is_not_tried_again(status, down, advice):
    with chat(Said(status=status)) as server:
        reply = put(server.url)
    assert reply.answer is None and reply.down is down and len(server.requests) == 1
    assert advice in reply.failure


def test_nobody_there():
    reply = put(closed_url(), attempts=2)
    assert reply.answer is None and reply.down and reply.attempts == 2
    assert reply.failure.startswith("endpoint: got ") and "refused" in reply.failure


@pytest.mark.parametrize("said", [Said(delay_s=1.0), Said(drip_s=0.05)])
def test_a_server_that_is_silent_or_drips_is_cut_off(said):
    with chat(said) as server:
        start = time.monotonic()
        reply = put(server.url, attempts=1, timeout_s=0.2)
        assert time.monotonic() - start < 0.9
    assert reply.answer is None and reply.down


def test_a_reply_without_end_is_cut_off():
    with chat(Said(body="x" * (3 << 20))) as server:
        assert "too long" in put(server.url, attempts=1).failure


def test_a_redirect_is_not_followed():
    with chat(Said()) as other, chat(Said(status=307, headers={"Location": other.url})) as server:
        reply = put(server.url, api_key="secret")
    assert reply.answer is None and "HTTP 307" in reply.failure and not other.requests


def test_the_wait_doubles_unless_the_server_names_one(monkeypatch):
    waits = []
    monkeypatch.setattr("worldmodel.evaluators.endpoint.sleep", waits.append)
    with chat(Said("?")) as server:
        put(server.url, attempts=4, backoff_s=0.5)
    assert waits == [0.5, 1.0, 2.0]
    named = [Said(status=429, headers={"Retry-After": wait}) for wait in ("7", "3600", "Fri, 31 Dec 1999 23:59:59 GMT")]
    with chat(*named, Said()) as server:
        assert put(server.url, attempts=4, backoff_s=0.5).answer == "yes"
    assert waits[3:] == [7.0, 60.0, 2.0]


def test_prices_are_per_million_tokens():
    endpoint = Endpoint("http://127.0.0.1/v1", "eye", prompt_usd=2.0, completion_usd=10.0)
    assert endpoint.cost_usd(1_000_000, 100_000) == pytest.approx(3.0)
    unknown = Endpoint("http://127.0.0.1/v1", "eye").cost_usd(1, 1)
    assert unknown != unknown


def test_the_key_is_not_printed():
    assert "secret" not in repr(Endpoint("http://127.0.0.1/v1", "eye", api_key="secret"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"url": "localhost:8000"}, "url: got 'localhost:8000', expected http"),
        ({"url": "ftp://127.0.0.1"}, "url: got 'ftp://127.0.0.1'"),
        ({"model": ""}, "model: got ''"),
        ({"timeout_s": 0}, "timeout_s, attempts, backoff_s: got 0, 3, 1.0"),
        ({"attempts": 0}, "got 60.0, 0"),
        ({"backoff_s": -1}, "got 60.0, 3, -1"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Endpoint(**{"url": "http://127.0.0.1/v1", "model": "eye", **settings})
