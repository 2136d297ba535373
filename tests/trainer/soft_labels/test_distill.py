"""Teachers: whose answers they average, in which form a student gets them, and who cannot teach whom."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ArtifactError, ConfigError  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.models import build_net  # noqa: E402
from trainer.models.heads import gender_logits  # noqa: E402
from trainer.soft_labels.distill import Teachers, distillation_loss, resized  # noqa: E402

SMALL = Config(input_size=32, stem=4, widths=(8,), depths=(1,), race_class_weights=(1.0,) * 5)
CPU = torch.device("cpu")
LOSS_OF = {"distribution": "distribution", "regression": "l1", "ordinal": "ordinal", "groups": "cross-entropy"}


def recipe(head: str = "distribution", **changes: Any) -> Config:
    return dataclasses.replace(SMALL, age_head=head, age_loss=LOSS_OF[head], **changes)


def checkpoint(path: Path, config: Config, seed: int = 0) -> str:
    torch.manual_seed(seed)
    torch.save({"config": config.to_dict(), "ema": build_net(config).state_dict(), "best": None}, path)
    return str(path)


def crops(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def logits_for(soft: dict[str, torch.Tensor], config: Config) -> dict[str, torch.Tensor]:
    """The raw outputs of a student in training that says exactly what the teachers say."""
    heat = config.distill_temperature
    raw = {task: heat * answer.clamp_min(1e-30).log() for task, answer in soft.items()}
    if config.age_head == "regression":
        raw["age"] = soft["age"].clone()
    if config.age_head == "ordinal":
        raw["age"] = soft["age"].clamp(1e-6, 1 - 1e-6).logit()
    if config.gender_head == "sigmoid":
        raw["gender"] = raw["gender"][:, 1:] - raw["gender"][:, :1]
    raw["race"] = raw["race"] + torch.tensor(config.race_class_weights).log()
    return raw


@pytest.mark.parametrize("head", LOSS_OF)
@pytest.mark.parametrize("gender_head", ["softmax", "sigmoid"])
def test_a_student_that_agrees_has_nothing_to_learn(head: str, gender_head: str, tmp_path: Path) -> None:
    gender_loss = "bce" if gender_head == "sigmoid" else "cross-entropy"
    weights = (1.0, 1.0, 2.0, 1.0, 3.0)  # odds that training adds are not the teacher's
    student = recipe(head, gender_head=gender_head, gender_loss=gender_loss, race_class_weights=weights)
    student = dataclasses.replace(student, teachers=(checkpoint(tmp_path / "a.pt", recipe()),))
    soft = Teachers.load(student, CPU).answers(crops())
    raw = {task: values.requires_grad_() for task, values in logits_for(soft, student).items()}
    distillation_loss(raw, soft, student).backward()
    for task, values in raw.items():
        assert values.grad.abs().max() < 1e-4, task
    off = {task: values.detach() + torch.randn(values.shape) for task, values in raw.items()}
    assert distillation_loss(off, soft, student) > distillation_loss(raw, soft, student)


def test_distributions_lose_nothing_at_agreement_and_their_tasks_are_weighted(tmp_path: Path) -> None:
    student = recipe(teachers=(checkpoint(tmp_path / "a.pt", recipe()),), gender_weight=0.0, race_weight=0.0)
    soft = Teachers.load(student, CPU).answers(crops())
    raw = logits_for(soft, student)
    raw["gender"] = raw["gender"] + torch.tensor([3.0, 0.0])
    assert distillation_loss(raw, soft, student).item() == pytest.approx(0, abs=1e-4)
    assert distillation_loss(raw, soft, dataclasses.replace(student, gender_weight=1.0)).item() > 0.1


def test_every_age_head_learns_the_same_age(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pt", recipe())
    soft = {head: Teachers.load(recipe(head, teachers=(path,), distill_temperature=1.0), CPU).answers(crops())["age"]
            for head in LOSS_OF}  # fmt: skip
    expected = (soft["distribution"] @ torch.arange(101.0)).tolist()
    assert soft["regression"][:, 0].tolist() == pytest.approx(expected, rel=1e-4)
    assert soft["ordinal"].sum(dim=1).tolist() == pytest.approx(expected, rel=1e-4)
    ends = [0, 5, 15, 25, 45, 65, 101]
    for number, (start, end) in enumerate(zip(ends, ends[1:])):
        assert torch.allclose(soft["groups"][:, number], soft["distribution"][:, start:end].sum(dim=1), atol=1e-5)


def test_temperature_softens_and_teachers_are_averaged(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / f"{seed}.pt", recipe(), seed) for seed in (0, 1)]
    cold, both = recipe(teachers=(paths[0],), distill_temperature=0.1), recipe(teachers=tuple(paths))
    alone = [Teachers.load(recipe(teachers=(path,)), CPU).answers(crops()) for path in paths]
    mean = Teachers.load(both, CPU).answers(crops())
    for task in ("age", "gender", "race"):
        assert torch.allclose(mean[task], (alone[0][task] + alone[1][task]) / 2, atol=1e-6)
        assert torch.allclose(mean[task].sum(dim=1), torch.ones(3), atol=1e-5)
    assert Teachers.load(cold, CPU).answers(crops())["race"].max() > alone[0]["race"].max()


def test_a_teacher_sees_crops_of_its_own_size_and_teaches_only_its_tasks(tmp_path: Path) -> None:
    teacher = recipe(input_size=48, tasks=("gender",), gender_head="sigmoid", gender_loss="bce")
    student = recipe(teachers=(checkpoint(tmp_path / "a.pt", teacher),), distill_temperature=1.0, amp="off")
    teachers = Teachers.load(student, CPU)
    soft = teachers.answers(crops())
    assert list(soft) == ["gender"]
    net, config = teachers.members[0]
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    expected = gender_logits(net(resized(crops(), 48))["gender"], config).softmax(dim=1)
    assert torch.allclose(soft["gender"], expected, atol=1e-6)


def test_resizing_keeps_the_picture() -> None:
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8)[None, :, None, None].expand(1, 64, 64, 3)
    half = resized(ramp, 32)
    assert half.shape == (1, 32, 32, 3) and half.dtype == torch.uint8
    assert half[0, 8:24, 5, 0].tolist() == pytest.approx([8 * row + 2 for row in range(8, 24)], abs=1)
    assert resized(ramp, 64) is ramp


@pytest.mark.parametrize(
    ("teacher", "student", "sentence"),
    [
        (recipe(eye_distance=0.4), recipe(), "`teachers`: .*a.pt knows crops of eye_distance 0.4, .*; cut both alike"),
        (recipe(tasks=("age",)), recipe(tasks=("race",)), "`teachers`: .*a.pt answers age, not race"),
        (
            recipe("regression"),
            recipe("ordinal"),
            "an age head of ordinal learns nothing from the regression head of",
        ),
        (recipe("groups", age_groups=(0, 50)), recipe("groups"), r"a.pt has age_groups \(0, 50\), not \(0, 5, 15"),
    ],
)
def test_who_cannot_teach_whom(teacher: Config, student: Config, sentence: str, tmp_path: Path) -> None:
    student = dataclasses.replace(student, teachers=(checkpoint(tmp_path / "a.pt", teacher),))
    with pytest.raises(ConfigError, match=sentence):
        Teachers.load(student, CPU)


def test_a_teacher_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no weights at `.*none.pt`"):
        Teachers.load(recipe(teachers=(str(tmp_path / "none.pt"),)), CPU)
