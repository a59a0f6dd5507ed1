"""One question about some pictures to any OpenAI-compatible chat endpoint, answered out of a closed set.

A verdict is never searched for in prose: the reply must be the JSON object ``{"answer": ...}`` with one
of the answers that were offered, to the letter, or it is no answer. Whatever goes wrong becomes a
``Reply`` that says so; nothing is raised on the way.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

MAX_BYTES = 1 << 20  # of a reply
MAX_WAIT_S = 60.0  # between two attempts, whatever the server asks for
AGAIN = {408, 425, 429, 500, 502, 503, 504}  # worth another attempt
DOWN = {401, 403, 404, 502, 503, 504}  # other questions will fare no better


@dataclass(frozen=True)
class Endpoint:
    """Where the judge is and how it is asked.

    Attributes:
        url: base of the API, such as ``http://localhost:8000/v1``; ``/chat/completions`` is added.
        api_key: sent as a bearer token; it is neither printed nor saved.
        timeout_s: for one attempt, from the request to the end of the reply.
        attempts: at most, for each question.
        backoff_s: before the second attempt, twice as long before each further one, unless the
            server names a time (``Retry-After``); never more than a minute.
        schema: ask the server to hold the model to the answers (``response_format``); off for servers
            that refuse it. The reply is checked in either case.
        parameters: further fields of the request.
        prompt_usd, completion_usd: price of a million tokens; None if unknown.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    attempts: int = 3
    backoff_s: float = 1.0
    schema: bool = True
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0, "max_tokens": 64})
    prompt_usd: float | None = None
    completion_usd: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be an endpoint before any clip is read."""
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: got {self.url!r}, expected http(s)://host[:port]/v1; pass the API's base address")
        if not self.model:
            raise ValueError("model: got '', expected the name the endpoint knows it by; see its /models")
        if not (self.timeout_s > 0 and self.attempts >= 1 and self.backoff_s >= 0):
            raise ValueError(
                f"timeout_s, attempts, backoff_s: got {self.timeout_s}, {self.attempts}, {self.backoff_s}, expected "
                "above 0, at least 1 and at least 0; change them"
            )

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of some tokens; nan without the prices."""
        if self.prompt_usd is None or self.completion_usd is None:
            return float("nan")
        return (prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd) / 1e6


@dataclass(frozen=True)
class Reply:
    """What became of one question."""

    answer: str | None  # one of those that were offered
    failure: str | None  # why there is no answer, a line
    down: bool = False  # the endpoint itself is to blame: other questions will fare no better
    attempts: int = 0
    prompt_tokens: int = 0  # as billed, of all attempts; 0 where the server does not tell
    completion_tokens: int = 0
    seconds: float = 0.0  # waiting included


class _Failed(Exception):
    """One attempt came to nothing."""

    def __init__(self, why: str, *, again: bool, down: bool, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.again, self.down, self.wait_s = again, down, wait_s


def ask(endpoint: Endpoint, content: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> Reply:
    """Put ``content`` (parts of one chat message, pictures as data URIs) and take one of ``answers`` back."""
    body = json.dumps(_request(endpoint, content, answers)).encode()
    started, used = monotonic(), {"prompt_tokens": 0, "completion_tokens": 0}
    for attempt in range(1, endpoint.attempts + 1):
        try:
            answer, failed = _attempt(endpoint, body, answers, used), None
        except _Failed as error:
            answer, failed = None, error
        if failed is None or not failed.again or attempt == endpoint.attempts:
            break
        wait_s = endpoint.backoff_s * 2 ** (attempt - 1) if failed.wait_s is None else failed.wait_s
        sleep(min(wait_s, MAX_WAIT_S))
    why = None if failed is None else str(failed)
    down = failed is not None and failed.down
    return Reply(answer, why, down, attempt, **used, seconds=monotonic() - started)


def parse_answer(text: Any, answers: Sequence[str]) -> str:
    """The answer in ``text``, which must be ``{"answer": one of answers}`` and nothing else.

    Raises:
        ValueError: it is not; the message quotes the start of it.
    """
    quoted = repr(text) if len(repr(text)) <= 60 else f"{repr(text)[:60]}..."
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"answer: got {quoted}, expected JSON; use a model that can hold to a format") from None
    well_formed = isinstance(pairs, list) and len(pairs) == 1 and isinstance(pairs[0], tuple)
    if not well_formed or pairs[0][0] != "answer" or pairs[0][1] not in tuple(answers):
        raise ValueError(f"answer: got {quoted}, expected {{'answer': one of {', '.join(answers)}}}; ask another model")
    return pairs[0][1]


def _request(endpoint: Endpoint, content: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> dict[str, Any]:
    request = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": list(content)}],
        **endpoint.parameters,
    }
    if endpoint.schema:
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(answers)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        named = {"name": "verdict", "strict": True, "schema": schema}
        request["response_format"] = {"type": "json_schema", "json_schema": named}
    return request


def _attempt(endpoint: Endpoint, body: bytes, answers: Sequence[str], used: dict[str, int]) -> str:
    reply = _post(endpoint, body)
    try:
        document = json.loads(reply)
        usage = document.get("usage") or {}
        for name in used:
            used[name] += int(usage.get(name) or 0)
        text = document["choices"][0]["message"]["content"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        why = f"reply: got {reply[:60]!r}, expected a chat completion; check the endpoint's address"
        raise _Failed(why, again=True, down=False) from None
    try:
        return parse_answer(text, answers)
    except ValueError as error:
        raise _Failed(str(error), again=True, down=False) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key, and the pictures, to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(endpoint: Endpoint, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    address = endpoint.url.rstrip("/") + "/chat/completions"
    request = urllib.request.Request(address, data=body, headers=headers, method="POST")
    deadline = monotonic() + endpoint.timeout_s
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=endpoint.timeout_s) as response:
            return _read(response, deadline)
    except urllib.error.HTTPError as error:
        with error:
            why = f"endpoint: got HTTP {error.code} from {address}, expected 200; {_advice(error.code)}"
            wait_s = _seconds(error.headers.get("Retry-After"))
        raise _Failed(why, again=error.code in AGAIN, down=error.code in DOWN, wait_s=wait_s) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        why = (
            f"endpoint: got {reason or type(error).__name__} from {address}, expected a reply; start it or correct url"
        )
        raise _Failed(why, again=True, down=True) from None


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole reply; a server that drips is cut off like one that is silent."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES or monotonic() > deadline:
            raise TimeoutError("a reply too long" if size > MAX_BYTES else "a reply too slow")
    return b"".join(parts)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header; None for a date or nonsense."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None


def _advice(code: int) -> str:
    if code in (401, 403):
        return "check api_key"
    if code == 404:
        return "check url and model"
    if code in AGAIN:
        return "try again later"
    return "see the server's log; some refuse response_format (schema=False) or a parameter"
