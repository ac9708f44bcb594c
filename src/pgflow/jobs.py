"""Background jobs: functions that are called now and run later, by a worker. Each is a flow of one step."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, Generic, NotRequired, overload

from typing_extensions import ParamSpec, TypedDict, TypeVar

from pgflow.client import AsyncClient, Client
from pgflow.errors import FlowDefinitionError, InvalidInputError
from pgflow.flow import Context, Flow, codec
from pgflow.flow.binding import is_context, is_generator
from pgflow.flow.step import plain_function, unwrapped_partial
from pgflow.records import Run, StepType

P = ParamSpec("P")
T = TypeVar("T")

#: What enqueue() takes for itself, so that no job's parameter can have the name.
_OWN = frozenset({"client", "run_id", "key", "at", "delay", "connection"})


class Job(Flow[Any, Any], Generic[P, T]):
    """A function as a flow of one step, as `@pgflow.job` returns it; calling it just calls the function."""

    def __init__(self, fn: Callable[P, T], slug: str | None, options: dict[str, Any]) -> None:
        super().__init__(slug or unwrapped_partial(fn).__name__)
        self._fn = fn
        self._signature, self._arguments = self._read(fn)
        step = self.step(slug=self.slug, **options)(self._handler())
        step.__wrapped__ = fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._fn(*args, **kwargs)

    def __set_name__(self, owner: type, name: str) -> None:
        """A job that is defined in a class would be called without its instance, and found by no worker."""
        if getattr(self._fn, "__qualname__", "").startswith(f"{owner.__qualname__}."):
            raise self._refusal(
                f"a job cannot be a method of a class ({owner.__qualname__}.{name}): "
                "make it a function at the module's level, where a worker finds it"
            )

    def enqueue(self, *args: Any, client: Client | None = None, **arguments: Any) -> Run:
        """Starts a run that calls the function with these arguments, and returns it as it then stands.

            send_email.enqueue("ada@example.org", subject="Hello", delay=60)

        `run_id`, `key`, `at`, `delay` and `connection` are those of `Client.start`. Without a `client` one is opened
        for this call, unless the run starts on a `connection` of yours. Raises InvalidInputError for arguments that do
        not fit the function, before anything is written.
        """
        if client is not None and not isinstance(client, Client):
            raise InvalidInputError(
                f"enqueue() takes a pgflow.Client, not {type(client).__name__} (an AsyncClient: aenqueue())"
            )
        options, input = self._split(args, arguments)
        if client is not None or "connection" in options:
            return (client or Client()).start(self, input, **options)
        with Client() as opened:
            return opened.start(self, input, **options)

    async def aenqueue(self, *args: Any, client: AsyncClient | None = None, **arguments: Any) -> Run:
        """`enqueue` for async code.

        await send_email.aenqueue("ada@example.org", subject="Hello", client=client)
        """
        if client is not None and not isinstance(client, AsyncClient):
            raise InvalidInputError(
                f"aenqueue() takes a pgflow.AsyncClient, not {type(client).__name__} (a Client: enqueue())"
            )
        options, input = self._split(args, arguments)
        if client is not None or "connection" in options:
            return await (client or AsyncClient()).start(self, input, **options)
        async with AsyncClient() as opened:
            return await opened.start(self, input, **options)

    def encode_input(self, value: Any) -> bytes:
        """A run's input, `{parameter: argument}`, as JSON text; raises InvalidInputError for one that does not fit."""
        self.check()
        return codec.encode(value, self._arguments)

    def _decorator(self, step_type: StepType) -> str:
        return "@pgflow.job"

    def _split(self, args: tuple[Any, ...], arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is meant for `Client.start`, and what for the function."""
        options = {name: value for name, value in arguments.items() if name in _OWN and value is not None}
        try:
            bound = self._signature.bind(*args, **{k: v for k, v in arguments.items() if k not in _OWN})
        except TypeError as error:
            raise InvalidInputError(f"job {self.slug!r}: {error}") from error
        return options, dict(bound.arguments)

    def _refusal(self, *faults: str) -> FlowDefinitionError:
        return FlowDefinitionError(self.slug, [f"{self.location}: {fault}" for fault in faults])

    def _read(self, fn: Callable[..., Any]) -> tuple[inspect.Signature, Any]:
        """The signature without the context, and the type of its arguments as one object."""
        try:
            hints = typing.get_type_hints(plain_function(fn), include_extras=True)
            signature = inspect.signature(fn)
        except NameError as error:
            raise self._refusal(f"an annotation names {error.name!r}, which is not defined before the job") from error
        except ValueError as error:  # of a builtin
            raise self._refusal("its parameters cannot be read: wrap it in a function") from error
        self._contexts = [p for p in signature.parameters if p == "ctx" or is_context(hints.get(p))]
        self._returns = hints.get("return", Any)
        parameters = [p for p in signature.parameters.values() if p.name not in self._contexts]
        faults = [f"parameter {p.name!r} has a name that enqueue() needs itself" for p in parameters if p.name in _OWN]
        if is_generator(fn):
            faults.append("a generator cannot be a job: return a list instead")
        faults += [
            f"parameter '{str(p).partition(':')[0]}' is not allowed: arguments are stored by name"
            for p in parameters
            if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        if faults:
            raise self._refusal(*faults)
        make: Any = TypedDict
        fields = {
            p.name: hints.get(p.name, Any) if p.default is p.empty else NotRequired[hints.get(p.name, Any)]
            for p in parameters
        }
        return signature.replace(parameters=parameters), make("Arguments", fields)

    def _handler(self) -> Callable[..., Any]:
        """The step's handler: takes the run's input apart."""
        fn, contexts = self._fn, self._contexts

        def arguments(flow_input: dict[str, Any], ctx: Context | None = None) -> dict[str, Any]:
            return {**flow_input, **dict.fromkeys(contexts, ctx)}

        def call(**given: Any) -> Any:
            return fn(**arguments(**given))  # type: ignore[call-arg]

        async def acall(**given: Any) -> Any:
            return await fn(**arguments(**given))  # type: ignore[call-arg, misc]

        handler: Any = acall if inspect.iscoroutinefunction(fn) else call
        names = {"flow_input": self._arguments, **({"ctx": Context} if contexts else {})}
        handler.__name__ = self.slug
        handler.__annotations__ = {**names, "return": self._returns}
        handler.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        )
        return handler  # type: ignore[no-any-return]


@overload
def job(fn: Callable[P, T], /) -> Job[P, T]: ...
@overload
def job(*, slug: str | None = None, **options: Any) -> Callable[[Callable[P, T]], Job[P, T]]: ...
def job(fn: Callable[..., Any] | None = None, /, *, slug: str | None = None, **options: Any) -> Any:
    """Makes a background job of a function: a flow of one step, named like it.

        @pgflow.job(max_attempts=5)
        def send_email(to: str, subject: str, ctx: Context) -> None: ...

        send_email.enqueue("ada@example.org", subject="Hello")     # a worker of `send_email` calls it
        send_email("ada@example.org", "Hello", Context())          # calls it here and now

    Options are those of `Flow.step`. Arguments cross the database as JSON, by their annotations; `ctx`, or a parameter
    annotated Context (or `Context | None`), is filled in by the worker. Raises FlowDefinitionError for parameters that
    cannot be stored.
    """

    def decorate(fn: Callable[..., Any]) -> Job[..., Any]:
        if not callable(fn) or not (slug or hasattr(unwrapped_partial(fn), "__name__")):
            raise TypeError(f"@pgflow.job decorates functions, not {fn!r}")
        return Job(fn, slug, options)

    return decorate if fn is None else decorate(fn)
