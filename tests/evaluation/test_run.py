"""Whole runs over small zoos: what is run, resumed, reported."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import toy_zoos
from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset
from mmbd.evaluation.evaluate import evaluate
from mmbd.model.classifier import Classifier
from mmbd.results.store import Store
from mmbd.zoo import Entry, Zoo

LISTENS = {"listens": toy_zoos.row()}


def watched(folder) -> dict:
    """The detector, which leaves a mark in `folder` for every call."""
    return {"listens": (toy_zoos.row(), {"folder": str(folder)})}


def models(evaluation) -> list[str]:
    return [result.model for result in evaluation.results]


def test_a_run_in_this_process():
    found = evaluate(toy_zoos.small(), LISTENS | {"shrugs": toy_zoos.row(toy_zoos.shrugs)})
    assert models(found) == [name for name in ("b0", "b1", "b2", "c0", "c1", "c2") for _ in "12"]
    listens, shrugs = found.tables.overall
    assert (listens.detection.hits, listens.false_positives.hits) == (1, 1)
    assert shrugs.unanswered == (3, 3)
    assert found.failures == ()
    assert found.environment["torch"]
    again = evaluate(toy_zoos.small(), LISTENS)
    assert again.tables.overall[0].auc == listens.auc


def test_a_detector_over_the_limit_has_no_answer(tmp_path):
    dawdles = {"dawdles": toy_zoos.row(toy_zoos.dawdles)}
    found = evaluate(toy_zoos.small(), dawdles, workers=2, limit=0.01, results=tmp_path)
    assert [result.error for result in found.results] == ["took longer than 0.01 s"] * 6
    assert found.tables.overall[0].unanswered == (3, 3)
    assert not (tmp_path / "results.sqlite").exists()
    with pytest.raises(ValueError, match="at least one worker"):
        evaluate(toy_zoos.small(), LISTENS, limit=5)


def test_models_excluded_are_not_run(tmp_path):
    aside = replace(toy_zoos.small().entries[0], excluded="attack success rate 41 %")
    broken = (("z", "the file is empty"),)
    zoo = Zoo((aside, *toy_zoos.small().entries[1:]), broken)
    found = evaluate(zoo, watched(tmp_path))
    assert len(list(tmp_path.iterdir())) == 5
    assert models(found) == ["b1", "b2", "c0", "c1", "c2"]
    assert found.excluded == (("b0", "attack success rate 41 %"),)
    assert found.failures == broken
    with pytest.raises(Failed, match="all 1 models are excluded"):
        evaluate(Zoo((aside,)), LISTENS)


def test_halves_and_attacks():
    zoo = Zoo((*toy_zoos.small().entries, toy_zoos.entry("seedless", 0.7)))
    even = evaluate(zoo, LISTENS, half="even")
    odd = evaluate(zoo, LISTENS, half="odd")
    assert models(even) == ["b0", "b2", "c1"]
    assert models(odd) == ["b1", "c0", "c2"]
    assert (even.without_seed, evaluate(zoo, LISTENS).without_seed) == (1, 0)
    assert models(evaluate(zoo, LISTENS, attacks=["blend"])) == ["b2", "c0", "c1", "seedless"]
    both = evaluate(zoo, LISTENS, half="odd", attacks=["badnet", "imbalance"])
    assert models(both) == ["b1", "c0", "c2"]
    with pytest.raises(ValueError, match="'wanet'; it has: badnet, blend, clean, imbalance"):
        evaluate(zoo, LISTENS, attacks=["wanet"])
    with pytest.raises(ValueError, match=r"no model .* odd seed"):
        evaluate(Zoo(zoo.entries[:1]), LISTENS, half="odd")


def test_a_broken_model_and_a_failing_detector_stop_nothing():
    zoo = Zoo((Entry("x", "clean", toy_zoos.broken), *toy_zoos.small().entries))
    found = evaluate(zoo, LISTENS | {"fails": toy_zoos.row(toy_zoos.fails)})
    assert dict(found.failures) == {
        "x": "no weights in here",
        **{f"{model}, fails": "RuntimeError: a bug" for model in ("b0", "b1", "c1")},
    }
    listens, fails = found.tables.overall
    assert listens.detection.n == fails.detection.n == 3
    assert fails.unanswered == (2, 1)
    assert fails.false_positives.hits == 0


def test_models_without_samples_are_listed_and_a_zoo_without_any_is_refused(tmp_path):
    counts = {"counts": toy_zoos.row(toy_zoos.counts, needs=frozenset({"samples", "labels"}))}
    labels = torch.arange(100).clamp(max=5)  # the toy models call everything class 5
    labels[:10] = torch.arange(10) // 2
    data = Dataset(torch.rand(100, 4), labels, tuple("abcdef"))
    some = Zoo((replace(toy_zoos.entry("x", 0.5), samples=lambda: data), toy_zoos.entry("y", 0.5)))
    found = evaluate(some, counts)
    ((what, why),) = found.not_evaluable
    assert what == "y, counts"
    assert why.startswith("counts needs clean samples, and the zoo does not say")
    assert found.failures == ()
    with pytest.raises(ValueError, match="counts needs clean samples of the model's task: give"):
        evaluate(toy_zoos.small(), LISTENS | counts, results=tmp_path / "answers")
    assert not (tmp_path / "answers").exists()
    assert evaluate(toy_zoos.small(), LISTENS | counts, samples=data).not_evaluable == ()


def test_answers_are_kept_and_used_again(tmp_path):
    calls, folder = tmp_path / "calls", tmp_path / "answers"
    calls.mkdir()
    detector = watched(calls)
    seen = []
    first = evaluate(toy_zoos.small(), detector, results=folder, progress=seen.append)
    assert [step.done for step in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[2].seconds_left == pytest.approx(seen[2].seconds)
    half = evaluate(toy_zoos.small(), detector, results=folder, half="even")
    second = evaluate(toy_zoos.small(), detector, results=folder, progress=seen.append)
    assert len(list(calls.iterdir())) == 6
    assert all(step.latest.stored for step in seen[6:])
    assert second.results == first.results
    assert len(half.results) == 3
    evaluate(toy_zoos.small(), detector, results=folder, seed=1)
    assert len(list(calls.iterdir())) == 12


def test_a_zoo_on_disk(tmp_path):
    found = evaluate(toy_zoos.own(tmp_path), half="odd")
    assert models(found) == ["backdoored-1", "clean-1"]
    (row,) = found.tables.overall
    assert (row.detection.hits, row.false_positives.hits, row.auc.value) == (1, 0, 1.0)
    assert found.results[0].group == "squares mlp"
    assert found.zoo == tmp_path.name
    assert found.failures == ()


def test_in_other_processes_even_if_they_die(tmp_path):
    detectors = {"dies": toy_zoos.row(toy_zoos.dies), "listens": toy_zoos.row()}
    found = evaluate(toy_zoos.small(), detectors, workers=2, results=tmp_path)
    ((what, why),) = found.failures
    assert what == "b0, dies"
    assert "out of memory?" in why
    dies, listens = found.tables.overall
    assert dies.unanswered == (1, 0)
    assert listens.unanswered == (0, 0)
    assert found.results[1].flagged
    assert len(Store(tmp_path / "results.sqlite").keys()) == 11


def test_arguments_that_make_no_sense():
    for arguments, words in (
        ({"detectors": ["mmbd"]}, "unknown detector 'mmbd'; did you mean 'mm-bd'"),
        ({"detectors": ["xyzzy"]}, "unknown detector 'xyzzy'; known: mm-bd, "),
        ({"detectors": []}, "no detector given"),
        ({"detectors": {"x": (toy_zoos.row(), {"folder_": "x"})}}, "unknown option 'folder_'"),
        ({"per_class": 0}, "per_class must be at least 1"),
        ({"level": 0}, "level must be between 0 and 1"),
        ({"workers": -1}, "0 workers"),
        ({"arch": "mlp"}, "arch is for zoos that are read from a path"),
    ):
        options = {"detectors": LISTENS} | arguments
        with pytest.raises(ValueError, match=words):
            evaluate(toy_zoos.small(), **options)
    unpicklable = Zoo((Entry("x", "clean", lambda: Classifier(None, input_shape=(1,))),))
    with pytest.raises(ValueError, match="workers=0"):
        evaluate(unpicklable, LISTENS, workers=1)


def test_zoos_that_make_no_sense(tmp_path):
    twice = toy_zoos.small().entries[0]
    with pytest.raises(Failed, match="two models of the zoo are called 'b0'"):
        evaluate(Zoo((twice, twice)), LISTENS)
    with pytest.raises(Failed, match="x: too short"):
        evaluate(Zoo((), (("x", "too short"),)), LISTENS)
    with pytest.raises(Failed, match="nowhere"):
        evaluate(tmp_path / "nowhere", LISTENS)


def test_rows_names_and_options_can_be_asked_side_by_side():
    detectors = {"default": "mm-bd", "few": ("mm-bd", {"restarts": 1, "universal": False}), **LISTENS}
    found = evaluate(toy_zoos.small(), detectors, attacks=["blend"])
    assert [result.detector for result in found.results] == list(detectors) * 3
    settings = [result.report.finding.settings for result in found.results[:2]]
    assert [setting["maximum_margins"]["restarts"] for setting in settings] == [4, 1]


def test_a_damaged_store_is_said_and_begun_anew(tmp_path):
    (tmp_path / "results.sqlite").write_bytes(b"damage" * 1000)
    found = evaluate(toy_zoos.small(), LISTENS, results=tmp_path)
    (warning,) = found.warnings
    assert "damaged-1" in warning
    assert found.failures == ()
    assert evaluate(toy_zoos.small(), LISTENS, results=tmp_path).warnings == ()
    (tmp_path / "results.sqlite").unlink()
    (tmp_path / "results.sqlite").symlink_to("elsewhere")
    with pytest.raises(Failed, match="found a link"):
        evaluate(toy_zoos.small(), LISTENS, results=tmp_path)


def test_answers_of_earlier_releases_are_said_once(tmp_path):
    (tmp_path / "mm-bd").mkdir()
    (tmp_path / "mm-bd" / "b0-0123456789abcdef0123.json").write_text("{}")
    first = evaluate(toy_zoos.small(), LISTENS, results=tmp_path)
    assert "not read any more" in first.warnings[0]
    assert evaluate(toy_zoos.small(), LISTENS, results=tmp_path).warnings == ()
