"""The whole course of an adaptation: plan, convert, refit, distill, deploy; each step is kept and not done again."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.adaptation.passes import inference
from hetconv.adaptation.plan import Plan
from hetconv.adaptation.planning import check_asked, plan
from hetconv.adaptation.refit import refit_
from hetconv.adaptation.targets import CALIBRATED, Target, target_of
from hetconv.convert import convert_
from hetconv.deployment import Deployed
from hetconv.errors import DamagedFileError, UsageError
from hetconv.files import write_atomically
from hetconv.lab.adapting.course_record import Course, Step
from hetconv.lab.adapting.course_report import course_markdown
from hetconv.lab.inference import evaluate
from hetconv.lab.settings import Adaptation, Recipe, Tuning
from hetconv.lab.settings.adaptation import TUNING
from hetconv.lab.train import Data, Distillation, Progress, train
from hetconv.lab.train.checkpoint import load_checkpoint, read_header, save_checkpoint
from hetconv.lab.train.shards import ShardSplit
from hetconv.records import load_record, save_record

PLAN, REFITTED, CHECKPOINT, DEPLOYED = (
    "plan.json", "refitted.safetensors", "checkpoint.safetensors", "deployed.safetensors"
)  # fmt: skip
RECORD, REPORT = "adaptation.json", "report.md"
RATE_SHARE = 0.5
"""Of the rate that the network was trained with, where that is known."""
TARGETS = {"float32": "deploy", "int8": "int8"}
"""What times are measured of, by the precision that the network is deployed in."""


def recipe_of(weights: Path, tuning: Tuning) -> Recipe | None:
    """How to tune a network: as it was trained, at half the rate, if its file is a checkpoint that says so.

    None for no epochs.
    """
    if tuning.epochs == 0:
        return None
    warmup = min(TUNING.warmup_epochs, tuning.epochs / 10)
    own, rate = TUNING, TUNING.learning_rate
    with contextlib.suppress(
        UsageError, DamagedFileError, KeyError, TypeError
    ):  # no checkpoint, or one of another version
        own = Recipe(**{**read_header(weights).identity["recipe"], "step_epochs": (), "schedule": "cosine"})
        rate = RATE_SHARE * own.learning_rate
    given = {
        "learning_rate": tuning.lr, "batch_size": tuning.train_batch_size, "mixed_precision": tuning.mixed_precision,
    }  # fmt: skip
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(own, **{"epochs": tuning.epochs, "learning_rate": rate, "warmup_epochs": warmup} | changes)


def keep_silent(_: str) -> None:
    """Where nobody waits."""


def adapt(
    model: nn.Module,
    data: Data,
    wanted: Adaptation,
    out: Path,
    *,
    progress: Progress | None = None,
    told: Callable[[str], None] = keep_silent,
    target: Target | None = None,
) -> Course:
    """Make a trained classifier faster within a measured budget, and as accurate as it was.

    The folder gets the plan, the refitted network, the tuned network's checkpoint, the deployed file, a record and a
    Markdown page. Called again with the same arguments, it goes on where it was stopped; other arguments are refused.

    Args:
        model: trained; left as it is.
        data: images for plan and least squares, training and accuracy.
        target: in the place of this machine, for times that are measured elsewhere.

    Raises:
        UsageError: the budget is out of reach (the plan stays in the folder), or the folder is of something else.
        NotFiniteError: the loss became NaN or infinite.
    """
    if not (out / PLAN).exists():
        check_asked(wanted.speedup, wanted.budget_ms, wanted.parts)
    identity = _identity(model, data, wanted)
    example = torch.randn(wanted.batch_size, *data.input_size, generator=torch.Generator().manual_seed(0))
    course = _Runner(model.eval() if not model.training else copy.deepcopy(model).eval(), data, wanted, out, identity)
    course.check_folder()
    place = (
        target_of(TARGETS[wanted.precision], course.images(min(wanted.images, CALIBRATED)))
        if target is None
        else target
    )
    chosen = course.plan(example, place, told)
    if not chosen.is_met:
        raise UsageError(f"{chosen.verdict}; the plan is in {out / PLAN}")
    if not chosen.p_by_name:
        raise UsageError(f"{wanted.name} meets {chosen.asked} as it is: {chosen.original_ms:.3f} ms; hetconv deploy it")
    network = course.refitted(chosen, told)
    network = course.tuned(network, chosen, progress or Progress(), told)
    return course.deployed(network, chosen, example, place, told)


class _Runner:
    """The steps, each of which is read from the folder where it is done."""

    def __init__(self, model: nn.Module, data: Data, wanted: Adaptation, out: Path, identity: dict[str, Any]) -> None:
        self.model, self.data, self.wanted, self.out, self.identity = model, data, wanted, out, identity

    def check_folder(self) -> None:
        """The folder is new, or of the same adaptation."""
        path = self.out / RECORD
        if path.exists():
            self.record = load_record(Course, path)
            different = [key for key, value in self.identity.items() if self.record.identity.get(key) != value]
            if different:
                raise UsageError(
                    f"{self.out} is of another adaptation: {', '.join(different)} differ; take another --out"
                )
        else:
            self.record = Course(self.identity, (), None, None, None)
            self._add("original", self.model, 0.0)

    def plan(self, example: Tensor, target: Target, told: Callable[[str], None]) -> Plan:
        path = self.out / PLAN
        if path.exists():
            return Plan.load(path)
        begin = time.perf_counter()
        images = self.images(min(self.wanted.plan_images, self.wanted.images))
        found = plan(
            self.model, example, images=images, speedup=self.wanted.speedup,
            budget_ms=self.wanted.budget_ms, target=target, parts=self.wanted.parts, told=told,
        )  # fmt: skip
        found.save(path)
        self._save(replace(self.record, plan_seconds=time.perf_counter() - begin))
        return found

    def refitted(self, chosen: Plan, told: Callable[[str], None]) -> nn.Module:
        network = self._converted(chosen)
        path = self.out / REFITTED
        if path.exists():
            load_checkpoint(path, network, None, self.identity)
            return network
        self._add("converted", network, 0.0)
        begin = time.perf_counter()
        report = refit_(
            network, self.model, self.images(self.wanted.images),
            told=lambda layer: told(f"{layer.name}: residual {layer.residual_before:.3f} → {layer.residual_after:.3f}"),
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        write_atomically(self.out / "refit.txt", f"{report}\n".encode())
        self._add("refitted", network, seconds)
        save_checkpoint(path, network, None, self.identity, ())
        return network

    def tuned(self, network: nn.Module, chosen: Plan, progress: Progress, told: Callable[[str], None]) -> nn.Module:
        if self.wanted.recipe is None:
            return network
        told(f"distilling for {self.wanted.recipe.epochs} epochs")
        epochs = train(
            network, self.data, self.wanted.recipe, self.wanted.seed, checkpoint=self.out / CHECKPOINT,
            identity=self.identity, progress=progress,
            objective=Distillation(self.model, self.wanted.temperature, self.wanted.teacher_share),
        )  # fmt: skip
        network = network.cpu().eval()
        self._add(f"tuned, {len(epochs)} epochs", network, sum(epoch.seconds for epoch in epochs))
        return network

    def deployed(
        self, network: nn.Module, chosen: Plan, example: Tensor, target: Target, told: Callable[[str], None]
    ) -> Course:
        told("deploying and measuring")
        prepared = {"original": target.prepare(self.model, example), "adapted": target.prepare(network, example)}
        times = target.network_times(prepared, example)
        if self.wanted.precision == "int8":
            self._add("in 8 bits", prepared["adapted"], 0.0)
        self._save(replace(self.record, original_ms=times["original"], adapted_ms=times["adapted"]))
        adapted = prepared["adapted"]
        if isinstance(adapted, Deployed):
            adapted.class_names, adapted.image_size = self.data.class_names, self.data.input_size[-1]
            adapted.save(self.out / DEPLOYED)
        write_atomically(self.out / REPORT, course_markdown(self.record, chosen).encode())
        return self.record

    def _converted(self, chosen: Plan) -> nn.Module:
        network = copy.deepcopy(self.model)
        if chosen.p_by_name:
            convert_(network, chosen)
        return network

    def images(self, count: int) -> Tensor:
        """Training images without labels; of shards, which are read as they lie, augmented ones."""
        count = min(count, self.data.train_images)
        if isinstance(self.data.train, ShardSplit):
            torch.manual_seed(self.wanted.seed)
            return next(iter(self.data.train_loader(count)))[0]  # type: ignore[no-any-return]
        return self.data.first_images(count)

    def _add(self, name: str, network: nn.Module, seconds: float) -> None:
        """Measure the accuracy after a step, which takes the place of an earlier one of that name."""
        accuracy = _accuracy(network, self.data)
        steps = tuple(step for step in self.record.steps if step.name != name)
        self._save(replace(self.record, steps=(*steps, Step(name, accuracy, seconds))))

    def _save(self, record: Course) -> None:
        self.record = record
        save_record(record, self.out / RECORD)


def _accuracy(network: nn.Module, data: Data) -> float:
    """The share of right answers on the held-out split, on the CPU."""
    with inference(network):
        return evaluate(network, data).share


def _identity(model: nn.Module, data: Data, wanted: Adaptation) -> dict[str, Any]:
    """Everything that the result depends on, as JSON has it."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    settings = asdict(wanted)
    settings["parts"] = list(wanted.parts)
    if settings["recipe"] is not None:
        settings["recipe"]["step_epochs"] = list(settings["recipe"]["step_epochs"])
    size = {"data": data.name, "train_images": data.train_images, "test_images": data.test_images}
    return {**settings, **size, "weights": digest.hexdigest()}
