"""The rounds of one call of `shrink`."""

import hashlib
import time
from dataclasses import dataclass

import numpy as np

from keras_l2feat import files
from keras_l2feat.errors import CheckFailed, InputError, Interrupted, bad_argument
from keras_l2feat.progress import bar
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.shrinking.checkpoint import Checkpoint
from keras_l2feat.shrinking.cut import POINTS, Cut, composed, least, recalibrate
from keras_l2feat.shrinking.goal import Goal
from keras_l2feat.shrinking.inputs import Inputs
from keras_l2feat.shrinking.points import Points
from keras_l2feat.shrinking.record import Shrinkage, measured, sizes, step_seconds
from keras_l2feat.shrinking.state import Settings, State, carry, seeded
from keras_l2feat.shrinking.training import check_fit, kind_of, minimized, taught, trained
from keras_l2feat.types import Model

__all__ = ["Options", "Rounds"]


@dataclass(frozen=True)
class Options:
    """How a run goes; as in `shrink`, with `share` what the original's outputs get of the loss."""

    method: str
    share: float
    decay: bool
    callbacks: tuple
    keep_rounds: object
    seed: int
    quiet: bool


class Rounds:
    """Rounds, from the original or from a checkpoint.

    Args:
        graph: of the original; points: `Points`; settings: `Settings`; goal: `Goal`;
            options: `Options`.
        given: the model as the user has it, whose optimizer is read.

    Attributes:
        best: `State` after the last round that was kept.
        curve: records, the original first.
    """

    def __init__(
        self,
        graph: Graph,
        points: Points,
        settings: Settings,
        goal: Goal,
        options: Options,
        given: Model,
    ) -> None:
        self.graph, self.points, self.settings = graph, points, settings
        self.goal, self.options = goal, options
        self.whole = sizes(graph)
        self._check_size()
        start = self._original()
        if getattr(given, "compiled", False) and given.optimizer is not None:
            carry(graph, self._all(graph), given, start)
        self.kind = kind_of(start, points)
        check_fit(start, points, self.kind)
        self.inputs = Inputs(graph, points.every(graph.model))
        self.curve = [self._record(0, graph, start)]
        recalibrate(start, points.batches)  # what is handed over should not rest on lagging ones
        self.best = State.of(start, self._channels())
        if goal.name == "accuracy" and self.curve[0]["accuracy"] is None:
            raise InputError("Target 'accuracy' needs a model with one output of classes.")

    def _check_size(self):
        name, value = self.goal.name, self.goal.value
        smallest = least(self.graph)[self.goal.size] / max(self.whole[self.goal.size], 1)
        if smallest == 1:
            raise InputError(f"No unit of model {self.graph.model.name!r} can go.")
        if name in self.whole and value < smallest:
            raise bad_argument(
                name, f"at least {smallest:.3g}, which the smallest network has", value
            )

    def _all(self, graph):
        return np.ones(len(graph.pinned), dtype=bool)

    def _channels(self):
        return {layer: np.arange(len(units)) for layer, units in self.graph.writers.items()}

    def _original(self):
        """A copy of the original to train."""
        values = [np.array(variable.numpy()) for variable in self.graph.model.variables]
        return State(self._channels(), values, []).model(self.graph, self.settings)

    def facts(self) -> dict:
        """What has to be equal for a run to go on from a checkpoint, JSON-able."""
        digest = hashlib.sha256()
        for variable in self.graph.model.variables:
            digest.update(np.ascontiguousarray(variable.numpy()).data)
        return {
            "target": {self.goal.name: self.goal.value},
            "epochs": self.goal.epochs,
            "rounds": self.goal.rounds,
            "distill": self.options.share,
            "method": self.options.method,
            "rate": self.settings.rate,
            "seed": self.options.seed,
            "data": [self.points.steps, self.points.held_out],
            "model": digest.hexdigest(),
        }

    def go(self, checkpoint: Checkpoint, resume: bool) -> tuple:
        """All rounds: the smaller model and the `Shrinkage`."""
        now = done = None
        if resume:
            now, self.best, done, self.curve = checkpoint.read()
        elif checkpoint.path is not None and checkpoint.path.exists():
            raise InputError(
                f"Checkpoint {str(checkpoint.path)!r} exists already: add resume=True to go on "
                "from it, or remove it."
            )
        total = self.goal.epochs
        with bar(
            total=total, description="shrink", quiet=self.options.quiet, unit="epoch"
        ) as shown:
            shown.update(sum(record["epochs"] for record in self.curve))
            try:
                while (step := self.goal.next(self.curve[1:])) is not None:
                    share, epochs = step
                    self._round(share, epochs, now, done, checkpoint, shown)
                    now = done = None
            except KeyboardInterrupt as interrupt:
                raise self._interrupted() from interrupt
        if not self._rounds_kept():
            raise CheckFailed(
                f"No smaller network keeps the {self.goal.name} within {self.goal.value:.3g} on "
                f"the points held out: {len(self.curve) - 1} were tried."
            )
        result = self._result()
        if self.options.method == "compiled":
            result.original_seconds = self._original_seconds()
        return self._final(self.best), result

    def _rounds_kept(self):
        return sum(record["kept"] for record in self.curve[1:])

    def _interrupted(self):
        found = self._rounds_kept()
        if not found:
            return Interrupted("No round was done.")
        text = f"{found} round{'s were' if found > 1 else ' was'} done and kept."
        return Interrupted(text, (self._final(self.best), self._result()))

    def _round(self, share, epochs, now, done, checkpoint, shown):
        """One round, or the rest of one: `now` and `done` are of a checkpoint inside it."""
        before = sum(record["epochs"] for record in self.curve)
        if now is None:
            model, kept, record = self._cut(share, before)
            done = {"epochs": 0, "seconds": 0.0, "record": record}
        else:
            model, kept, record = now.model(self.graph, self.settings), now.kept, done["record"]
        shown.update(done["epochs"])
        began = time.perf_counter() - done["seconds"]

        def after(count):
            done.update(epochs=count, seconds=time.perf_counter() - began)
            shown.update()
            checkpoint.write(State.of(model, kept), self.best, done, self.curve)

        self._train(model, epochs, done["epochs"], before, after)
        self.points.epoch.assign(before + epochs)
        recalibrate(model, self.points.batches)  # moving averages lag behind few steps
        self.inputs.hand_over(read(model))
        record.update(epochs=done["epochs"], seconds=time.perf_counter() - began)
        record.update(measured(model, self.points.held, self.kind))
        record["kept"] = bool(self.goal.reached(self.curve[0], record))
        shown.set_postfix(units=record["units"], loss=record["loss"])
        state = State.of(model, kept)
        if record["kept"]:
            self.best = state
        self.curve.append(record)
        if self.options.keep_rounds is not None:
            with files.separately():
                folder = files.output_folder(self.options.keep_rounds)
                path = folder / f"round-{record['round']:02d}.keras"
                files.save_model(self._final(state), path)
        checkpoint.write(None, self.best, None, self.curve)

    def _train(self, model, epochs, start, before, after):
        if self.options.method == "lbfgs":
            minimized(model, self.points, epochs)
            after(epochs)
            return
        self._taught(model)
        trained(
            model,
            self.points,
            epochs,
            start=start,
            first=before,
            rate=self.settings.rate if self.options.decay else None,
            callbacks=self.options.callbacks,
            after=after,
        )

    def _taught(self, model):
        if self.options.share:
            taught(model, self.graph.model, self.options.share, self.kind)

    def _cut(self, share, before):
        """A smaller model, compiled; what it keeps of the original; and its record so far."""
        began = time.perf_counter()
        larger = self.best.model(self.graph, self.settings)
        graph, goal = read(larger), self.goal
        self.points.epoch.assign(before)
        cut = Cut(graph, self.points.inputs(larger, POINTS), goal.size, self.kind)
        if goal.name == "latency":
            counts = cut.to_latency(self.graph, share)
        else:
            counts = cut.to_size(goal.size, share * self.whole[goal.size])
        units = ~cut.gone(counts)
        smaller = cut.rewritten(units)
        self.inputs.hand_over(read(smaller))
        self.settings.compile(smaller)
        carry(graph, units, larger, smaller)
        seeded(smaller, [self.options.seed, len(self.curve)])
        recalibrate(smaller, self.points.batches)
        record = self._record(len(self.curve), read(smaller), smaller)
        record.update(cut_loss=record["loss"], cut_accuracy=record["accuracy"])
        record["cut_seconds"] = time.perf_counter() - began
        return smaller, composed(graph, units, self.best.kept), record

    def _record(self, number, graph, model):
        found = sizes(graph)
        return {
            "round": number,
            "epochs": 0,
            "share": found[self.goal.size] / self.whole[self.goal.size],
            **found,
            "inputs": self.inputs.read(graph),
            **measured(model, self.points.held, self.kind),
            "cut_loss": None,
            "cut_accuracy": None,
            "seconds": 0.0,
            "cut_seconds": 0.0,
            "kept": True,
            "widths": {layer: len(units) for layer, units in graph.writers.items()},
        }

    def _final(self, state):
        """The model of a state, compiled as the user's is."""
        model = state.model(self.graph, self.settings)
        final = State(state.kept, state.variables, []).model(self.graph, self.settings, plain=True)
        graph = read(model)
        carry(graph, self._all(graph), model, final)
        return final

    def _original_seconds(self):
        """What as many epochs of the original would take."""
        model = self._original()
        self._taught(model)
        each = step_seconds(model, self.points.batches, self.points.steps)
        return each * self.points.steps * sum(record["epochs"] for record in self.curve)

    def _result(self):
        training = sum(record["seconds"] for record in self.curve)
        return Shrinkage(
            target={self.goal.name: self.goal.value},
            curve=self.curve,
            held_out=self.points.held_out,
            seconds=training + sum(record["cut_seconds"] for record in self.curve),
            training_seconds=training,
            facts={**self.facts(), **getattr(self.points.dataset, "facts", {})},
        )
