"""The guards of one pipeline and the functions woven from them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, CoroutineType, FunctionType
from typing import Any, ClassVar

from resilient import _check
from resilient._gate import pending
from resilient._gate.gate import GateGuard
from resilient._gate.held import renew as renew_gates
from resilient._guards.timeout import TimeoutGuard
from resilient._policy import NEVER, Colour, Env, Guard, Policy
from resilient._runtime import live
from resilient._runtime.ledger import ledger
from resilient._weave import inlays, layers, weaver
from resilient._weave.checked import CHECKED, GENERATORS, PLAIN, checked, refuse
from resilient._weave.template import Layer, Shape, render
from resilient.clock import Clock
from resilient.outcome import Classifier
from resilient.timeout import call_template

_enabled = True


class Assembly:
    """Guards in order, outermost first, and every function woven from them that is alive."""

    __slots__ = ("__weakref__", "_through", "_woven", "env", "guards")

    inner: ClassVar[bool] = False

    def __init__(self, env: Env, guards: Sequence[Guard]) -> None:
        self.env = env
        self.guards = tuple(guards)
        self._woven: dict[int, weakref.ref[FunctionType]] = {}
        self._through: dict[tuple[Colour, tuple[str, str]], FunctionType] = {}
        live.add(self)

    def guard(self, function: Callable[..., Any], colour: Colour) -> FunctionType:
        """Return a woven function that guards `function`."""
        form = weaver.parameters_of(function)
        own: dict[str, object] = {"assembly": self}  # lives as long as its functions, to weave them anew
        for position, guard in enumerate(self.guards):
            own.update((f"{name}_{position}", value) for name, value in guard.names_of(function).items())
        self._layers()  # what is new there takes locks of its own
        with inlays.lock:
            return self._keep(weaver.make(self._shape(colour, form), {**self._names(colour), **own}, function))

    def _keep(self, woven: FunctionType) -> FunctionType:
        """Remember a function that is handed out, for as long as somebody has it."""
        key = id(woven)

        def forget(_: object, pop: Callable[..., object] = self._woven.pop, key: int = key) -> None:
            pop(key, None)

        self._woven[key] = weakref.ref(woven, forget)
        return woven

    def through(self, colour: Colour, form: tuple[str, str] = weaver.THROUGH) -> FunctionType:
        """Return the woven function that gets what it guards with each call: a function, or an `Exchange`."""
        woven = self._through.get((colour, form))
        if woven is None:
            self._layers()
            with inlays.lock:
                woven = weaver.make(self._shape(colour, form), self._names(colour), None)
                woven = self._through.setdefault((colour, form), woven)
        return woven

    def streamed(self, colour: Colour) -> FunctionType:
        """Return the woven function that gets an `Exchange` with each call and leaves its permits to it."""
        return self.through(colour, weaver.EXCHANGE)

    @property
    def woven(self) -> bool:
        """Whether functions have been handed out."""
        return bool(self._through or self._woven)

    @property
    def active(self) -> tuple[Guard, ...]:
        """The guards that are woven in: all of them, or none while policies are left out."""
        return self.guards if _enabled else ()

    @property
    def admitting(self) -> list[Guard]:
        """Timeouts, and what asks whether a two-step call may pass, outermost first."""
        return layers.admitting(self.env, self.guards) if _enabled else []

    def _layers(self) -> list[tuple[int, Guard]]:
        return layers.numbered(self.env, self.guards, inner=self.inner)

    def source(self, colour: Colour) -> str:
        """Return the source that functions of a colour are woven into."""
        return render(self._shape(colour, weaver.ANYTHING))

    def reweave(self) -> None:
        """Weave anew, in place, every function that was handed out; calls in flight finish as they began."""
        with inlays.lock:
            for (colour, form), woven in list(self._through.items()):
                woven.__globals__.update(self._names(colour))
                _replace(woven, weaver.code_of(self._shape(colour, form)))
            for reference in list(self._woven.values()):
                guarded = reference()
                if guarded is not None:
                    colour, call = _colour_of(guarded), guarded.__globals__["call"]
                    guarded.__globals__.update(self._names(colour))
                    _replace(guarded, weaver.fitted(self._shape(colour, weaver.parameters_of(call)), call))

    def renew(self) -> None:
        """Start afresh in a forked child."""
        for guard in self.guards:
            guard.renew()
        self.env.gate.renew()

    def use_clock(self, clock: Clock) -> None:
        """Run on another clock from here on."""
        self.env.clock = clock
        for guard in self.guards:
            guard.follow_clock()
        self.env.gate.follow_clock()
        self.reweave()

    def _shape(self, colour: Colour, form: tuple[str, str]) -> Shape:
        guards = self.active
        woven = self._layers() if _enabled else []
        timeouts = [guard for guard in guards if isinstance(guard, TimeoutGuard)]
        streamed = form == weaver.EXCHANGE
        hops = colour == "sync" and not streamed and not all(guard.policy.cooperative for guard in timeouts)
        core = call_template(colour, hops=hops) if timeouts else PLAIN
        if colour == "sync" and not streamed:
            core += CHECKED
        flags = {colour} | self._common_flags(timed=bool(timeouts), hops=hops)
        key = weaver.key_of(form)
        if key:
            flags.add("positional")
        if form == weaver.THROUGH:
            flags.add("through")
        if streamed:
            flags.add("streamed")
        return Shape(
            layers=tuple(
                Layer(guard.policy.template, number, guard.flags(colour), isinstance(guard, TimeoutGuard))
                for number, guard in woven
            ),
            core=core,
            owner=guards.index(timeouts[-1]) if timeouts else 0,
            flags=frozenset(flags),
            parameters=form[0],
            arguments=form[1],
            caller="awaited({})" if form == weaver.THROUGH and colour == "async" else "{}",
            key=key,
        )

    def _common_flags(self, *, timed: bool, hops: bool) -> set[str]:
        rescued = any(guard.policy.kind == "fallback" for guard in self.active)
        flags = {
            "timed": timed,
            "hop": hops,
            "judged": self.env.classifier.result is not None,
            "inner": self.inner,
            "rescued": rescued,
        }
        return {flag for flag, there in flags.items() if there}

    def _names(self, colour: Colour) -> Mapping[str, object]:
        names: dict[str, object] = {
            "now": self.env.clock.now,
            "NEVER": NEVER,
            "ledger": ledger,
            "coroutine": CoroutineType,
            "generators": GENERATORS,
            "refuse": refuse,
            "checked": checked,
            "awaited": _check.awaited,
        }
        for number, guard in self._layers():
            for name, value in guard.names(colour).items():
                names[f"{name.removesuffix('_')}_{number}"] = value
        return names


def assemble(name: str, policies: Sequence[Policy], classifier: Classifier) -> Assembly:
    """Make fresh state for a pipeline."""
    pending.configure()
    env = Env(name, classifier)
    gate = env.gate = GateGuard(env)
    kinds = [policy.kind for policy in policies]
    guards = [
        policy.bind(env, policy.kind if kinds.count(policy.kind) == 1 else f"{policy.kind}_{position}")
        for position, policy in enumerate(policies)
    ]
    for position, guard in enumerate(guards):
        guard.placed(guards[:position], guards[position + 1 :])
        guard.encloses(_Inside(env, guards[position + 1 :]))
    assembly = Assembly(env, guards)
    gate.guards = assembly.guards
    gate.unsettle()  # a source that came before this gate was one of `gates()`
    return assembly


class _InnerAssembly(Assembly):
    """Policies inside of one: no call begins here."""

    __slots__ = ()

    inner = True


class _Inside:
    """The policies inside of one, woven when they are asked for; their state is the pipeline's."""

    __slots__ = ("_assembly", "_env", "_guards")

    def __init__(self, env: Env, guards: Sequence[Guard]) -> None:
        self._env = env
        self._guards = guards
        self._assembly: Assembly | None = None

    def __call__(self, colour: Colour) -> FunctionType:
        """Return the woven function that gets what it guards with each call."""
        if self._assembly is None:
            self._assembly = _InnerAssembly(self._env, self._guards)
        return self._assembly.through(colour)


def _replace(woven: FunctionType, code: CodeType) -> None:
    # Only where it differs: from 3.13 on, a function that got other code is called without a fast path for good.
    if woven.__code__ != code:
        woven.__code__ = code


def _colour_of(woven: FunctionType) -> Colour:
    return "async" if woven.__code__.co_flags & 0x80 else "sync"


def enable(on: bool) -> bool:  # noqa: FBT001 -- a switch
    """Weave policies in, or leave them all out, in every function of the process; return what was before."""
    global _enabled
    with inlays.lock:
        before, _enabled = _enabled, on
        inlays.reweave_all()
    return before


pending.expect()
live.renewing(weaver.renew)
live.renewing(inlays.renew)
live.renewing(renew_gates)
