"""An adaptation as a page."""

from __future__ import annotations

from collections.abc import Iterable

from hetconv.adaptation.plan import Plan
from hetconv.lab.adapting.course_record import Course
from hetconv.table import Table


def course_markdown(course: Course, plan: Plan) -> str:
    """Accuracy after each step, times, P by layer, and what to do if that is not enough."""
    name = course.identity.get("name", "a network")
    return "\n".join([
        f"# {name}, adapted",
        "",
        f"{plan.verdict}.",
        *_measured(course),
        "",
        "## Accuracy",
        "",
        _steps(course).markdown(),
        *_advice(course),
        "",
        "## P by layer",
        "",
        plan.table.markdown(),
        *(f"- {other.name} stays as it is: {other.reason}" for other in plan.others),
        "",
        *_measured_on(plan),
    ]) + "\n"  # fmt: skip


def _measured(course: Course) -> Iterable[str]:
    if course.original_ms is not None and course.adapted_ms is not None:
        ratio = course.original_ms / course.adapted_ms
        yield (
            f"Measured at the end, in turns: {course.original_ms:.3f} ms the original, {course.adapted_ms:.3f} ms the "
            f"adapted network, {ratio:.2f} times as fast."
        )


def _steps(course: Course) -> Table:
    first = course.steps[0].accuracy
    rows = [
        (
            step.name,
            f"{100 * step.accuracy:.2f}",
            "" if step is course.steps[0] else f"{100 * (step.accuracy - first):+.2f}",
            f"{step.seconds:.0f}",
        )
        for step in course.steps
    ]
    return Table.of_rows(("after", "accuracy, %", "points to the original", "seconds"), rows)


def _advice(course: Course) -> Iterable[str]:
    lost = 100 * (course.steps[0].accuracy - course.steps[-1].accuracy)
    yield f"{lost:.2f} points are lost." if lost > 0 else "Nothing is lost."
    if lost > 1:
        tuned = course.identity.get("recipe") is not None
        longer = "more epochs" if tuned else "epochs of distillation (`--epochs`)"
        yield f"If that is too much: {longer}, or a smaller speed-up."


def _measured_on(plan: Plan) -> Iterable[str]:
    at = plan.circumstances
    if at is not None:
        yield f"Timed on {at.processor}, {at.threads} thread(s), batch {at.batch_size}, {at.dtype}, {at.date}."
