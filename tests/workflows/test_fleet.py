"""Fleets: what is scanned, what is skipped and why, and what is kept of it."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from helpers import toy_fleets
from helpers.toy_fleets import Here, models, ran, write
from mmbd.base.errors import Failed
from mmbd.results import claims
from mmbd.results.fleet import Fleet, Row, thinned
from mmbd.results.report import Report
from mmbd.results.store import Store
from mmbd.workflows.fleet import below, fleet
from mmbd.workflows.fleet.digests import Digests
from mmbd.workflows.fleet.entry import share
from mmbd.workflows.fleet.merge import merge


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results.sqlite")


def test_a_second_run_scans_what_is_new_or_changed_and_says_why_not_the_rest(tmp_path, store):
    entries = models(tmp_path / "fleet", "clean a", "backdoored", "clean b")
    run, made = ran(entries, store)
    assert made == ["m0.safetensors", "m1.safetensors", "m2.safetensors"]
    assert run.plan.new == {"new": 3}
    assert run.code == 1
    run, made = ran(entries, store)
    assert (made, run.plan.skipped, run.code) == ([], {"unchanged": 3}, 1)
    write(entries[1].path, "clean c")
    entries = [*entries, *models(tmp_path / "more", "clean d")]
    entries[-1] = replace(entries[-1], name="m3")
    run, made = ran(entries, store)
    assert made == ["m1.safetensors", "m3"]
    assert (run.plan.new, run.plan.skipped) == ({"changed": 1, "new": 1}, {"unchanged": 2})
    assert run.code == 0
    history = Fleet.read(store).history["m1.safetensors"]
    assert [(row.number, row.word) for row in history] == [(1, "backdoored"), (2, "clean")]


def test_other_settings_data_or_references_are_another_result(tmp_path, store):
    entries = models(tmp_path / "fleet", "clean a")
    ran(entries, store)
    write(tmp_path / "clean" / "0" / "a.png", "picture")
    changes = (
        {"scanning": replace(toy_fleets.HOW, level=0.01)},
        {"scanning": replace(toy_fleets.HOW, seed=1)},
        {"loading": replace(entries[0].loading, arch="resnet18")},
        {"data": tmp_path / "clean"},
        {"references": (tmp_path / "clean" / "0" / "a.png",)},
    )
    for change in changes:
        run, made = ran([replace(entries[0], **change)], store)
        assert run.plan.new == {"other settings or data": 1}, change
        run, made = ran([replace(entries[0], **change)], store)
        assert made == [], change
    write(tmp_path / "clean" / "0" / "b.png", "another")
    assert ran([replace(entries[0], data=tmp_path / "clean")], store)[1] == ["m0.safetensors"]
    # How a file is read and what it may take is no setting of the result.
    other = replace(entries[0].loading, sandbox=False, max_bytes=1 << 20)
    assert ran([replace(entries[0], loading=other)], store, allowed=fleet.Allowed(5, 1 << 30))[1] == []


def test_the_same_bytes_are_scanned_once_and_a_version_that_comes_back_not_again(tmp_path, store):
    entries = models(tmp_path / "fleet", "clean a", "clean a")
    assert ran(entries, store)[1] == ["m0.safetensors"]
    assert [row.word for row in Fleet.read(store).latest] == ["clean", "clean"]
    write(entries[0].path, "backdoored")
    assert ran(entries, store)[0].code == 1
    write(entries[0].path, "clean a")
    run, made = ran(entries, store)
    assert (made, run.code) == ([], 0)
    assert run.plan.skipped == {"back at an earlier version": 1, "unchanged": 1}
    assert [row.word for row in Fleet.read(store).history["m0.safetensors"]] == [
        "clean",
        "backdoored",
        "clean",
    ]


def test_labels_are_kept_up_to_date_without_a_scan(tmp_path, store):
    entries = models(tmp_path / "fleet", "clean a")
    ran(entries, store)
    run, made = ran([replace(entries[0], labels={"team": "vision"}, group="cifar", policy="p.toml")], store)
    assert made == []
    assert (run.rows[0].labels, run.rows[0].group, run.rows[0].policy) == (
        {"team": "vision"},
        "cifar",
        "p.toml",
    )
    assert run.rows[0].number == 1


def test_the_report_is_kept_beside_its_row(tmp_path, store):
    ran(models(tmp_path / "fleet", "backdoored"), store)
    (row,) = Fleet.read(store).latest
    (kept,) = [kept for key, kept in store.items() if key.method == "mm-bd-bootstrap"]
    assert Report.from_json(kept.value).verdict == row.word == "backdoored"
    assert row.targets == ("2 c2",)
    assert row.statistics == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert Row.from_json(row.to_json()) == row


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"name": 1}', '{"word": "fine"}', '{"name": "a", "oops": 1}', "NaN", "[" * 10_000]
)
def test_rows_of_strangers_are_passed_over(tmp_path, store, text):
    ran(models(tmp_path / "fleet", "clean a"), store)
    (row,) = Fleet.read(store).latest
    store.put(replace(row.key, model="f" * 64), text)
    assert Fleet.read(store).latest == (row,)


def test_what_failed_is_tried_again_under_other_limits_or_when_asked(tmp_path, store):
    entries = models(tmp_path / "fleet", "raise", "clean a")
    run, made = ran(entries, store)
    assert (len(made), run.code, run.rows[0].word) == (2, 2, "failed")
    assert "RuntimeError: a bug" in run.rows[0].reason
    run, made = ran(entries, store)
    assert (made, run.plan.skipped) == ([], {"unchanged, failed before": 1, "unchanged": 1})
    assert ran(entries, store, again="failed")[1] == ["m0.safetensors"]
    assert ran(entries, store, allowed=fleet.Allowed(7.0))[1] == ["m0.safetensors"]
    assert len(ran(entries, store, again="all")[1]) == 2


def test_a_model_that_cannot_be_read_is_told_and_does_not_stop_the_others(tmp_path, store):
    entries = models(tmp_path / "fleet", "clean a", "clean b")
    entries[0].path.unlink()
    run, made = ran(entries, store)
    assert (made, run.code) == (["m1.safetensors"], 2)
    assert "No such file" in run.rows[0].reason
    ran(entries, store)
    assert len(Fleet.read(store).history["m0.safetensors"]) == 1
    write(entries[0].path, "clean a")
    assert ran(entries, store)[0].code == 0


def test_stopping_finishes_what_is_under_way_and_the_next_run_goes_on(tmp_path, store):
    entries = models(tmp_path / "fleet", *(f"clean {number}" for number in range(5)))
    engine = Here()
    run, made = ran(entries, store, engine, stop=lambda: len(engine.made) >= 2)
    assert (len(made), run.left, len(run.rows)) == (2, 3, 2)
    assert not store.values(claims.METHOD, claims.VERSION)
    assert len(ran(entries, store)[1]) == 3


def test_shards_are_all_of_it_and_merge_to_one_store(tmp_path, store):
    entries = models(tmp_path / "fleet", *(f"clean {number}" for number in range(12)))
    parts = [share(entries, (number, 3)) for number in (1, 2, 3)]
    assert sorted(entry.name for part in parts for entry in part) == sorted(entry.name for entry in entries)
    assert all(parts)
    for number, part in enumerate(parts):
        ran(part, Store(tmp_path / f"{number}.sqlite"))
    write(entries[0].path, "backdoored")  # one shard scans a later version
    shard = next(number for number, part in enumerate(parts) if entries[0] in part)
    ran(parts[shard], Store(tmp_path / f"{shard}.sqlite"))
    files = [tmp_path / f"{number}.sqlite" for number in range(3)]
    assert merge(store.path, files) == (13, 12)
    assert merge(store.path, files) == (0, 12)
    found = Fleet.read(store)
    assert [row.word for row in found.history["m0.safetensors"]] == ["clean", "backdoored"]
    assert ran(entries, store)[1] == []
    with pytest.raises(Failed, match="no such store"):
        merge(store.path, [tmp_path / "none.sqlite"])


def test_groups_that_refer_to_each_other_stay_in_one_shard(tmp_path):
    entries = models(tmp_path, *("x" * number for number in range(8)))
    entries = [replace(entry, group="g", leave_one_out=True) for entry in entries]
    assert sorted(len(share(entries, (number, 2))) for number in (1, 2)) == [0, 8]


def test_two_fleets_on_one_store_share_the_work(tmp_path, store):
    entries = models(tmp_path / "fleet", *(f"clean {number}" for number in range(12)))
    engines = [Here(), Here()]
    threads = [threading.Thread(target=ran, args=(entries, store, engine)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    made = engines[0].made + engines[1].made
    assert sorted(made) == sorted(entry.name for entry in entries)
    assert [len(rows) for rows in Fleet.read(store).history.values()] == [1] * 12


def test_claims_of_the_dead_are_void_and_those_of_other_machines_wait(tmp_path, store, monkeypatch):
    (entry,) = models(tmp_path / "fleet", "clean a")
    (key,) = (task.key for task in fleet.plan([entry], store, limits="").todo)
    first, second = claims.Claims(store), claims.Claims(store)
    assert (first.take(key), second.take(key)) == ("mine", "theirs")
    monkeypatch.setattr(claims.processes, "gone", lambda known: True)
    assert second.take(key) == "mine"
    monkeypatch.setattr(claims.processes, "gone", lambda known: None)  # another machine
    assert first.take(key) == "theirs"
    monkeypatch.setattr(claims, "PATIENCE", -1.0)
    assert first.take(key) == "mine"
    first.leave()
    assert not store.keys()


def test_digests_are_remembered_of_files_at_rest_alone(tmp_path, store, monkeypatch):
    path = tmp_path / "m.safetensors"
    write(path, "one")
    first = Digests(store)
    digest = first.model(path)
    first.remember()
    assert not store.keys()  # it changed a moment ago
    monkeypatch.setattr("mmbd.workflows.fleet.digests.RECENT", -5.0)
    later = Digests(store)
    assert later.model(path) == digest
    later.remember()
    read = []
    monkeypatch.setattr("mmbd.workflows.fleet.digests.reading.opened", lambda path: read.append(path))
    assert Digests(store).model(path) == digest
    assert read == []
    monkeypatch.undo()
    status = path.stat()
    write(path, "two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same mtime
    assert Digests(store).model(path) != digest


def test_a_model_of_several_files_counts_with_all_of_them(tmp_path):
    for name in ("config.json", "model.safetensors", "net.onnx", "net.data", "other.txt"):
        write(tmp_path / name, f"names net.data {name}")
    digests = {
        name: Digests().model(tmp_path / name) for name in ("", "config.json", "net.onnx", "other.txt")
    }
    write(tmp_path / "net.data", "other weights")
    again = {name: Digests().model(tmp_path / name) for name in digests}
    assert [name for name in digests if digests[name] == again[name]] == ["other.txt"]


def test_the_models_below_a_folder(tmp_path):
    for name in (
        *("a.pt", "deep/er/b.onnx", "refused.pkl", ".hidden/c.pt", "notes.txt", "r.artifacts.safetensors"),
        *(
            "hub/config.json",
            "hub/model.safetensors",
            "hub/extra.safetensors",
            "hub/checkpoint/pytorch_model.bin",
        ),
    ):
        write(tmp_path / name, "x")
    (tmp_path / "round").symlink_to(tmp_path)
    names = [name for name, _ in below.models(tmp_path)]
    assert names == ["a.pt", "deep/er/b.onnx", "hub", "hub/checkpoint", "refused.pkl"]


def test_many_classes_are_thinned_for_a_sparkline():
    values = [float(number) for number in range(1000)]
    found = thinned([*values, None])
    assert len(found) == 48
    assert found[-1] == 999.0
    assert thinned([]) == ()
