"""Command line: ``python -m trainer.detector label|fit|tune|export|evaluate [RECIPE.toml] [--set key=value]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edgeface.common.console import echo, log_line, report_error
from edgeface.errors import EdgefaceError
from trainer.detector.config import Recipe, load_recipe

EXAMPLES = """examples:
  python -m trainer.detector label trainer/detector/photos.toml          label the recipe's photographs, once
  python -m trainer.detector fit trainer/detector/recipe.toml            train
  python -m trainer.detector fit trainer/detector/recipe.toml --resume   go on where the last checkpoint left it
  python -m trainer.detector tune trainer/detector/recipe.toml           sizes and thresholds on validation images
  python -m trainer.detector export trainer/detector/recipe.toml --set score_threshold=0.55
  python -m trainer.detector evaluate trainer/detector/recipe.toml       agreement with the teacher on test images
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 1 for a user's error, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        "python -m trainer.detector",
        description="Train, export and judge the face detector.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("label", "fit", "tune", "export", "evaluate"))
    parser.add_argument("recipe", nargs="?", help="TOML file; without it the defaults")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--resume", action="store_true", help="fit: go on from the last checkpoint")
    options = parser.parse_args(arguments)
    try:
        recipe = load_recipe(options.recipe, options.set)
        if options.command == "fit":
            _fit(recipe, options.resume)
        else:
            {"label": _label, "tune": _tune, "export": _export, "evaluate": _evaluate}[options.command](recipe)
    except EdgefaceError as error:
        report_error(error)
        return 1
    return 0


def _fit(recipe: Recipe, resume: bool) -> None:
    from trainer.detector.fit import fit

    log_line(f"wrote {fit(recipe, resume)}")


def _label(recipe: Recipe) -> None:
    """Write each collection's labels beside its zip file; collections that have them are left alone."""
    from edgeface.common.console import progress
    from trainer.detector.photos.photo_labels import label, labels_path
    from trainer.detector.teacher import Teacher
    from trainer.detector.training_images import TEACHER_FILE

    teacher = Teacher(Path(recipe.shared) / TEACHER_FILE)
    for collection in recipe.photographs:
        if labels_path(collection).is_file():
            log_line(f"kept {labels_path(collection)}")
            continue
        with progress(f"labelling {Path(collection.path).name}") as report:
            log_line(f"wrote {label(collection, teacher, report)}")


def _export(recipe: Recipe) -> None:
    from trainer.detector.detector_export import export

    log_line(f"wrote {export(recipe)}: PyTorch and ONNX Runtime agree")


def _tune(recipe: Recipe) -> None:
    """Print a table; the best row goes into the recipe by hand."""
    from trainer.detector.agreement import Agreement, sweep, teacher_answers

    sizes = ((640, 1.0), (640, 1.2), (640, 1.5))
    thresholds = [step / 20 for step in range(6, 15)]
    answers = teacher_answers(recipe.shared, "validation")
    echo("longest_px  upscale  threshold  part  faces  recall  precision  landmark_error  steady_error")
    for longest_px, upscale, threshold, parts in sweep(Path(recipe.onnx), answers, sizes, thresholds):
        for name, part in {**parts, "all": sum(parts.values(), Agreement())}.items():
            figures = f"{part.recall:.3f}  {part.precision:.3f}  {part.landmark_error:.4f}  {part.steady_error:.4f}"
            echo(f"{longest_px}  {upscale}  {threshold}  {name}  {part.teacher_faces}  {figures}")


def _evaluate(recipe: Recipe) -> None:
    from trainer.detector.agreement import report

    echo(json.dumps(report(recipe.onnx, recipe.shared, "test"), indent=2))


if __name__ == "__main__":
    sys.exit(main())
