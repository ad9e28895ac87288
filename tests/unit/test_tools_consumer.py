"""Consumers: one type of message each, and the one that runs tools."""

import threading
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import msgspec
import pytest
from pydantic import BaseModel

from taskserver.domain.events import Report
from taskserver.domain.messages import BaseMessage, ToolExecutionMessage
from taskserver.domain.retry import RetryPolicy
from taskserver.errors import (
    ArgumentsInvalid,
    MessageInvalid,
    MessageTooLarge,
    PermanentError,
    ResultInvalid,
    ToolInvalid,
    ToolNotFound,
)
from taskserver.tools import BaseConsumer, Context, RunPlan, ToolExecutionConsumer, tool, tool_of
from taskserver.tools.lifespan import Resources


class Address(BaseModel):
    street: str


class Mail(BaseMessage):
    to: str
    address: Address | None = None


class MailConsumer(BaseConsumer[Mail]):
    timeout = 30
    retry = RetryPolicy(max_retries=1)

    async def process(self, message: Mail, ctx: Context) -> str:
        return f"sent to {message.to}"


class Reports:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def put(self, report: Report) -> bool:
        self.texts.append(report.text)
        return True

    async def room(self) -> None: ...

    def wait_for_room(self) -> None: ...


def context(sink: Reports | None = None) -> Context:
    return Context(job_id="q-1", queue="q", attempt=1, max_attempts=4, idempotency_key="k", sink=sink or Reports())


MAIL = Mail(to="Ada")


async def test_a_consumer_processes_its_type_of_message():
    assert MailConsumer.message_type is Mail
    assert await MailConsumer().process(MAIL, context()) == "sent to Ada"


def test_the_plan_is_what_the_class_declares():
    assert MailConsumer().plan(MAIL) == RunPlan("Mail", 30, RetryPolicy(max_retries=1))


async def test_the_hooks_do_nothing_by_default():
    assert await MailConsumer().on_success("x", MAIL) is None
    assert await MailConsumer().on_failure(ValueError(), MAIL) is None


@pytest.mark.parametrize("error", [ValueError(), TimeoutError(), ToolNotFound("x"), OSError()])
def test_most_errors_are_worth_another_attempt(error: BaseException):
    assert MailConsumer().should_retry(error, MAIL)


@pytest.mark.parametrize(
    "error",
    [PermanentError(), ArgumentsInvalid(), ResultInvalid(), MessageInvalid(), MessageTooLarge()],
)
def test_what_must_fail_again_is_not_retried(error: BaseException):
    assert not MailConsumer().should_retry(error, MAIL)


@pytest.mark.parametrize("wrap", [bytes, msgspec.Raw])
def test_a_message_is_decoded_with_its_models(wrap: Any):
    body = msgspec.msgpack.encode({"to": "Ada", "address": {"street": "x"}, "added_later": 1})
    assert MailConsumer().decode(wrap(body)) == Mail(to="Ada", address=Address(street="x"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xa1\xff",
        b"\x91" * 10_000,
        msgspec.msgpack.encode({"to": 5}),
        msgspec.msgpack.encode({"to": "Ada", "address": {}}),
        msgspec.msgpack.encode({}) + b"\x00",
    ],
)
def test_a_body_that_is_not_such_a_message_is_refused(body: bytes):
    with pytest.raises(MessageInvalid, match="not a message of type 'Mail'"):
        MailConsumer().decode(body)


def test_a_subclass_inherits_the_type():
    class Quiet(MailConsumer): ...

    assert Quiet.message_type is Mail


def test_a_generic_base_leaves_the_type_open():
    m = TypeVar("m", bound=BaseMessage)

    class Logged(BaseConsumer[m]):
        async def process(self, message: m, ctx: Context) -> None: ...

    class LoggedMail(Logged[Mail]): ...

    assert not hasattr(Logged, "message_type")
    assert LoggedMail.message_type is Mail


def test_a_consumer_without_a_type_is_refused():
    with pytest.raises(ToolInvalid, match=r"no message type; write class Vague\(BaseConsumer\[MyMessage\]\)"):

        class Vague(BaseConsumer):  # type: ignore[type-arg]
            ...


@pytest.mark.parametrize("wrong", [int, "Mail"])
def test_only_a_message_class_goes_in_the_brackets(wrong: Any):
    with pytest.raises(ToolInvalid, match="is not a subclass of BaseMessage"):

        class Wrong(BaseConsumer[wrong]): ...


@pytest.mark.parametrize(("attribute", "says"), [("timeout", "timeout must be"), ("retry", "must be a RetryPolicy")])
def test_bad_attributes_are_refused(attribute: str, says: str):
    with pytest.raises(ToolInvalid, match=says):
        type("Bad", (MailConsumer,), {attribute: 0})


# The consumer that runs tools


@tool(timeout=5, max_retries=0)
async def double(x: int, *, ctx: Context) -> int:
    ctx.emit("doubling")
    return 2 * x


@tool
def thread_name(job: Context) -> str:
    job.progress(1, "named")
    return threading.current_thread().name


@tool
class Counter:
    """Counts its calls; it is instantiated once."""

    def __init__(self) -> None:
        self.calls = 0

    async def run(self) -> int:
        self.calls += 1
        return self.calls


def runs(*targets: Any) -> ToolExecutionConsumer:
    tools = [found for target in targets if (found := tool_of(target))]
    return ToolExecutionConsumer({each.name: each for each in tools})


def call(name: str, **arguments: Any) -> ToolExecutionMessage:
    return ToolExecutionMessage(tool_name=name, tool_args=arguments)


async def test_an_async_tool_runs_with_its_arguments_and_context():
    sink = Reports()
    assert await runs(double).process(call("double", x=3), context(sink)) == 6
    assert sink.texts == ["doubling"]


async def test_a_sync_tool_runs_in_a_thread():
    sink = Reports()
    assert await runs(thread_name).process(call("thread_name"), context(sink)) == "tool q-1"
    assert sink.texts == ["named"]


async def test_a_class_is_instantiated_once():
    async with AsyncExitStack() as stack:
        consumer = runs(Counter)
        await consumer.open(Resources(stack))
        assert [await consumer.process(call("Counter"), context()) for _ in range(2)] == [1, 2]


async def test_a_class_that_cannot_be_instantiated_is_refused_at_the_start():
    @tool
    class Broken:
        def __init__(self) -> None:
            raise OSError("no disk")

        def run(self) -> None: ...

    with pytest.raises(ToolInvalid, match=r"^'.*Broken' .* could not be instantiated: OSError: no disk; repair"):
        await runs(Broken).open(Resources(AsyncExitStack()))


async def test_arguments_are_checked_before_the_tool_is_called():
    sink = Reports()
    with pytest.raises(ArgumentsInvalid, match="argument 'x': expected int, got str"):
        await runs(double).process(call("double", x="3"), context(sink))
    assert sink.texts == []


async def test_a_caller_cannot_bring_its_own_context():
    with pytest.raises(ArgumentsInvalid, match="unknown argument 'ctx'"):
        await runs(double).process(call("double", x=3, ctx={}), context())


def test_the_plan_is_what_the_tool_declares():
    assert runs(double).plan(call("double")) == RunPlan("double", 5.0, RetryPolicy(max_retries=0))


async def test_an_unknown_tool_is_not_found():
    with pytest.raises(ToolNotFound, match=r"unknown tool 'duoble'; did you mean 'double'\?"):
        runs(double).plan(call("duoble"))
    with pytest.raises(ToolNotFound, match="unknown tool 'os:system'; load the module that declares it"):
        await runs(double).process(call("os:system"), context())
