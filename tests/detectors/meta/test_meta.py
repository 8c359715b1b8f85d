"""The query pipeline: shadow models in, a meta-classifier out, and what it says of models."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import mmbd
from helpers import tiny_shadows
from mmbd.data.dataset import Dataset
from mmbd.detectors import DETECTORS
from mmbd.detectors.meta.classifier import Learning, auc, best_threshold, logits_of, standardised
from mmbd.detectors.meta.classifier import asked as asked_shadow
from mmbd.detectors.meta.meta import meta as find
from mmbd.detectors.meta.shadows import Shadows, train_shadows
from mmbd.detectors.meta.train import meta_of, plan_of, train_meta
from mmbd.detectors.meta.trained import Meta
from mmbd.detectors.scan import ScanOptions
from mmbd.model.samples import Samples
from mmbd.results import identity

LEARNING = Learning(repeats=2)


@pytest.fixture(scope="module")
def shadows() -> Shadows:
    return train_shadows(tiny_shadows.samples(), tiny_shadows.plan(), count=12)


@pytest.fixture(scope="module")
def made(shadows) -> Meta:
    return meta_of(shadows, tiny_shadows.samples(), LEARNING)


@pytest.fixture(scope="module")
def fresh() -> Shadows:
    """Models that no meta-classifier has seen."""
    return train_shadows(tiny_shadows.samples(), tiny_shadows.plan(seed=1), count=10)


def classifier(shadows: Shadows, number: int, **more) -> mmbd.Classifier:
    network = shadows.plan.template()
    network.load_state_dict(shadows.models[number].state)
    return mmbd.Classifier(network, input_shape=tiny_shadows.SHAPE, **more)


def same(one: Meta, other: Meta) -> bool:
    mine, others = (found.parts.tensors() | {"c": found.clean, "j": found.jumbo} for found in (one, other))
    facts = [(found.bounds, found.standardise, dict(found.shadows)) for found in (one, other)]
    return facts[0] == facts[1] and all(torch.equal(value, others[name]) for name, value in mine.items())


def test_models_with_jumbo_backdoors_that_were_never_seen_are_told_from_clean_ones(made, fresh):
    scores = torch.tensor(
        [
            mmbd.scan(classifier(fresh, i), detector="meta", shadow_models=made).finding.score
            for i in range(20)
        ]
    )
    assert float(auc(scores[:10], scores[10:])) > 0.8
    expected = logits_of(fresh, range(20), made.parts, standardise=True).mean(1)
    assert torch.allclose(scores, expected, atol=1e-5)


def test_eight_shadow_models_make_one_from_samples_to_a_finding():
    plan = tiny_shadows.plan()
    told = []
    found = train_meta(
        tiny_shadows.samples(),
        arch=plan.arch,
        arguments=plan.arguments,
        recipe=plan.recipe,
        count=4,
        learning=Learning(queries=3, repeats=2, epochs=2),
        progress=told.append,
    )
    assert [step.stage for step in told] == ["shadow models"] * 8 + ["meta-classifier"] * 2
    assert found.parts.queries.shape == (2, 3, *tiny_shadows.SHAPE)
    assert (found.input_shape, found.classes) == (tiny_shadows.SHAPE, tiny_shadows.CLASSES)
    assert (len(found.clean), len(found.jumbo)) == (1, 1)
    assert (found.shadows["clean"], found.shadows["backdoored"], found.shadows["steps"]) == (4, 4, 12)
    assert found.shadows["architecture"] == "mlp(hidden=(16,))"
    assert found.shadows["ASR"] >= 0
    torch.manual_seed(5)
    again = train_meta(
        tiny_shadows.samples(),
        arch=plan.arch,
        arguments=plan.arguments,
        recipe=plan.recipe,
        count=4,
        learning=Learning(queries=3, repeats=2, epochs=2),
    )
    assert same(found, again)


def test_the_network_of_the_paper_is_the_default():
    network = plan_of(
        Dataset(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(2), ("a", "b"))
    ).template()
    found = [
        f"{type(layer).__name__} {getattr(layer, 'out_channels', getattr(layer, 'out_features', ''))}".strip()
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear | nn.Dropout | nn.BatchNorm2d)
    ]
    assert found == [
        *("Conv2d 32", "Conv2d 32", "MaxPool2d", "Conv2d 64", "Conv2d 64", "MaxPool2d"),
        *("Linear 256", "Dropout", "Linear 256", "Dropout", "Linear 2"),
    ]


def test_repeats_share_nothing(made, shadows):
    """So that the sum of their losses trains each as if it were alone."""
    parts = replace(
        made.parts, **{name: value.clone().requires_grad_(True) for name, value in vars(made.parts).items()}
    )
    asked_now = asked_shadow(shadows, 20, parts, standardise=True)
    asked_now[0].backward()
    for value in parts.tensors().values():
        assert value.grad is not None
        assert value.grad[0].any()
        assert not value.grad[1].any()


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_a_models_own_scale_and_what_is_added_to_all_classes_mean_nothing(made, fresh, scale):
    network = fresh.plan.template()
    network.load_state_dict(fresh.models[12].state)
    with torch.no_grad():
        network[-1].weight.mul_(scale)
        network[-1].bias.mul_(scale).add_(3)
    plain = mmbd.scan(classifier(fresh, 12), detector="meta", shadow_models=made).finding.score
    found = mmbd.Classifier(network, input_shape=tiny_shadows.SHAPE)
    score = mmbd.scan(found, detector="meta", shadow_models=made).finding.score
    assert score == pytest.approx(plain, abs=1e-3)
    constant = torch.full((1, 2, 3), 5.0)
    assert not standardised(constant).any()


def test_models_in_other_units_are_asked_the_same(made, fresh):
    """Pixels from 0 to 255, scaled by the network itself."""
    inner = classifier(fresh, 11).model

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x / 255)

    other = mmbd.Classifier(Scaled(), input_shape=tiny_shadows.SHAPE, bounds=(0, 255))
    scores = [
        mmbd.scan(model, detector="meta", shadow_models=made).finding.score
        for model in (classifier(fresh, 11), other)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_finding_says_what_was_asked_and_names_no_class(made, fresh):
    report = mmbd.scan(classifier(fresh, 3), detector="meta", shadow_models=made)
    finding = report.finding
    assert (finding.targets, finding.ranking, finding.columns) == ((), (), ())
    assert finding.test is not None
    assert (finding.test.statistic, finding.test.threshold) == (finding.score, made.threshold)
    assert [artifact.kind for artifact in finding.artifacts] == ["query"] * 10
    assert torch.equal(finding.artifacts[0].tensor, made.parts.queries[0, 0])
    assert finding.facts["evaluations"] == 20
    assert finding.facts["validation_auc"] == made.auc
    assert finding.settings["shadow_models"]["clean"] == 12


def asked(model: mmbd.Classifier, known: Meta, **options) -> mmbd.Report:
    return mmbd.scan(model, detector="meta", shadow_models=known, **options)


def test_the_threshold_is_the_validated_one_the_median_or_ones_own():
    known = replace(
        tiny_shadows.handmade(tiny_shadows.SHAPE, 3, 1),
        clean=torch.tensor([0.0, 1.0]),
        jumbo=torch.tensor([2.0, 4.0, 5.0]),
    )
    torch.manual_seed(0)
    model = mmbd.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), input_shape=tiny_shadows.SHAPE)
    found = {
        option: asked(model, known, **({"threshold": option} if option else {})).finding
        for option in (None, "validated", "median", -10, 10.0)
    }
    thresholds = {option: finding.test.threshold for option, finding in found.items() if finding.test}
    assert thresholds == {None: 1.5, "validated": 1.5, "median": 2.0, -10: -10.0, 10.0: 10.0}
    assert (found[-10].verdict, found[10.0].verdict) == ("backdoored", "clean")
    for wrong in ("mean", None, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="threshold must be a number or one of validated, median"):
            asked(model, known, threshold=wrong)


@pytest.mark.parametrize(
    ("clean", "jumbo", "threshold", "area"),
    [
        ([0.0, 1.0], [2.0, 4.0], 1.5, 1.0),
        ([0.0, 1.0, 3.0], [2.0, 4.0, 5.0], 3.5, 8 / 9),  # two are as good: the one without false alarms
        ([0.0, 0.0], [0.0, 0.0], 0.5, 0.5),
        ([2.0], [1.0], 2.5, 0.0),
        ([1.0, 1.0, 2.0], [1.0, 2.0, 2.0], 1.5, 2 / 3),
    ],
)
def test_thresholds_and_areas_by_hand(clean, jumbo, threshold, area):
    clean, jumbo = torch.tensor(clean), torch.tensor(jumbo)
    assert best_threshold(clean, jumbo) == threshold
    assert float(auc(clean, jumbo)) == pytest.approx(area)


@pytest.mark.parametrize(
    ("shape", "classes", "words"),
    [
        ((1, 6, 7), 3, "take inputs of (1, 6, 6) and have 3 classes; this model takes (1, 6, 7) and has 3"),
        (
            (1, 6, 6),
            4,
            "have 3 classes; this model takes (1, 6, 6) and has 4: train shadow models for its task",
        ),
    ],
)
def test_models_of_another_shape_or_other_classes_are_not_evaluable(made, shape, classes, words):
    network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
    report = asked(mmbd.Classifier(network, input_shape=shape), made)
    assert report.verdict == "not evaluable"
    assert words in (report.reason or "")


def test_a_meta_classifier_that_learned_nothing_judges_nothing(made, fresh):
    blind = replace(made, clean=torch.zeros(3), jumbo=torch.zeros(3))
    report = asked(classifier(fresh, 0), blind)
    assert report.verdict == "not evaluable"
    assert "no better than chance would (AUC 0.50" in (report.reason or "")
    clean, jumbo = torch.tensor([0.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 5.0])
    few = replace(made, clean=clean, jumbo=jumbo)  # an AUC of 2/3, which three of a kind often have
    assert asked(classifier(fresh, 0), few).verdict == "not evaluable"
    weak = replace(made, clean=clean.repeat(7), jumbo=jumbo.repeat(7))
    assert any("AUC 0.67" in caveat for caveat in asked(classifier(fresh, 0), weak).finding.caveats)


def test_a_model_whose_answers_are_not_finite_is_not_evaluable(made):
    class Broken(nn.Module):
        def forward(self, x):
            logits = x.flatten(1)[:, :3]
            return torch.where(logits.amax(1, keepdim=True) > 1, torch.nan, logits)

    far = replace(made, parts=replace(made.parts, queries=made.parts.queries + 5))
    with pytest.raises(mmbd.NotEvaluable, match="answers to the queries are not finite"):
        find(mmbd.Classifier(Broken(), input_shape=tiny_shadows.SHAPE), shadow_models=far)


def test_what_needs_shadow_models_asks_for_them(fresh):
    with pytest.raises(ValueError, match="meta needs shadow models: give --option shadow_models="):
        mmbd.scan(classifier(fresh, 0), detector="meta")
    with pytest.raises(ValueError, match="shadow_models must be a meta-classifier or its file, got int"):
        mmbd.scan(classifier(fresh, 0), detector="meta", shadow_models=3)


@pytest.mark.parametrize("wrong", [{"queries": 0}, {"repeats": 0}, {"lr": 0.0}, {"validation": 1.0}])
def test_learning_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Learning(**wrong)


def test_a_file_holds_it_whole_and_is_known_by_what_is_in_it(made, fresh, tmp_path):
    path = tmp_path / "META.safetensors"
    made.save(path)
    assert same(Meta.load(path), made)
    assert same(pickle.loads(pickle.dumps(made)), made)
    with pytest.raises(FileExistsError):
        made.save(path)
    plain = asked(classifier(fresh, 12), made).finding
    assert mmbd.scan(classifier(fresh, 12), detector="meta", shadow_models=str(path)).finding == plain
    how = ScanOptions("meta", options={"shadow_models": path})
    digests = [identity.settings(find, how.options), identity.settings(find, {"shadow_models": made})]
    assert digests[0] == digests[1] is not None
    other = replace(made, parts=replace(made.parts, output_bias=made.parts.output_bias + 1))
    other.save(path, force=True)
    changed = ScanOptions("meta", options={"shadow_models": path})
    assert identity.settings(find, changed.options) != digests[0]
    assert DETECTORS["meta"].opened({"threshold": 1}) == {"threshold": 1}


def rewritten(path, change):
    with safe_open(path, "pt") as file:
        entry = json.loads(file.metadata()["mmbd"])
    tensors = load_file(path)
    change(entry, tensors)
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, path, {"mmbd": json.dumps(entry)}
    )


HOSTILE = {
    "holds no meta-classifier": lambda entry, tensors: entry.update(kind="backdoor"),
    "of version 2": lambda entry, tensors: entry.update(version=2),
    "two numbers, the lower one first": lambda entry, tensors: entry.update(bounds=[1, 0]),
    "two numbers$": lambda entry, tensors: entry.update(bounds="01"),
    "must be true or false": lambda entry, tensors: entry.update(standardise=1),
    "names with numbers or short texts": lambda entry, tensors: entry.update(shadows={"a": ["b"]}),
    "numbers or short texts": lambda entry, tensors: entry["shadows"].update(data="x" * 300),
    "numbers or short": lambda entry, tensors: entry["shadows"].update({str(i): i for i in range(40)}),
    "missing, or that belong to no meta-classifier: clean": lambda entry, tensors: tensors.pop("clean"),
    "belong to no meta-classifier: more": lambda entry, tensors: tensors.update(more=torch.ones(1)),
    "finite numbers of 32 bits": lambda entry, tensors: tensors["queries"].fill_(torch.nan),
    "of 32 bits": lambda entry, tensors: tensors.update(jumbo=tensors["jumbo"].double()),
    "do not fit each other": lambda entry, tensors: tensors.update(output_bias=torch.ones(7)),
    "not fit each other": lambda entry, tensors: tensors.update(queries=tensors["queries"][:, :-1]),
    "not the shapes": lambda entry, tensors: tensors.update(queries=torch.ones(2)),
    "the shapes that it needs": lambda entry, tensors: tensors.update(clean=torch.ones(0)),
    "shapes that it needs": lambda entry, tensors: tensors.update(queries=torch.ones(2, 0, 1, 6, 6)),
}


@pytest.mark.parametrize("words", HOSTILE)
def test_a_broken_file_says_what_is_wrong_with_it(made, tmp_path, words):
    path = tmp_path / "META.safetensors"
    made.save(path)
    rewritten(path, HOSTILE[words])
    with pytest.raises(mmbd.Failed, match=f"META.safetensors: .*{words}"):
        Meta.load(path)


def test_what_is_no_such_file_is_refused(made, fresh, tmp_path):
    path = tmp_path / "META.safetensors"
    with pytest.raises(mmbd.Failed, match="there is no such file"):
        mmbd.scan(classifier(fresh, 0), detector="meta", shadow_models=path)
    made.save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(mmbd.Failed, match=r"META\.safetensors: "):
        Meta.load(path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(mmbd.Failed, match="holds no meta-classifier: make one with mmbd shadows"):
        Meta.load(path)
    save_file({"a": torch.ones(1)}, path, {"mmbd": "[" * 100_000})
    with pytest.raises(mmbd.Failed, match="nested too deeply"):
        Meta.load(path)


def test_samples_are_not_used(made, fresh):
    data = tiny_shadows.samples()
    plain = asked(classifier(fresh, 0), made).finding
    assert asked(classifier(fresh, 0), made, samples=(data.inputs, data.labels)).finding == plain
    assert isinstance(
        find(classifier(fresh, 0), Samples(*[torch.ones(1)] * 3), shadow_models=made).score, float
    )
