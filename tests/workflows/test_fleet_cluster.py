"""A fleet on a Ray cluster of two nodes on this machine, one of which dies. Skipped where Ray is missing."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest

from helpers.toy_fleets import ALLOWED
from helpers.toy_zoos import planted
from mmbd.detectors.scan import ScanOptions
from mmbd.results.fleet import Fleet
from mmbd.results.store import Store
from mmbd.workflows.fleet import cluster, fleet
from mmbd.workflows.fleet.entry import Entry

ray_is_there = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match=r"mmbd\[ray\]"):
        cluster.begin(1, ALLOWED)


@pytest.mark.slow
@ray_is_there
@pytest.mark.filterwarnings("ignore")
def test_two_nodes_share_the_work_and_one_may_die(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")  # a guard, for machines that are busy
    import ray
    from ray.cluster_utils import Cluster

    how = ScanOptions("head")
    entries = [
        Entry(f"m{n}", planted(tmp_path / f"m{n}.safetensors", gain=1.0, seed=n), scanning=how)
        for n in range(8)
    ]
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        assert ray.cluster_resources()["CPU"] == 2
        store, made = Store(tmp_path / "results.sqlite"), []

        def watch(progress):
            made.append(progress.latest.name)
            if len(made) == 2:
                nodes.remove_node(second)  # at once, with whatever it is at

        engine = lambda: cluster.begin(2, replace(ALLOWED), sandboxed=False)  # noqa: E731
        run = fleet.run(entries, store, engine, allowed=ALLOWED, progress=watch)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert sorted(made) == [f"m{n}" for n in range(8)]
    assert {row.word for row in run.rows} == {"not evaluable"}  # a second opinion clears none
    assert {len(rows) for rows in Fleet.read(store).history.values()} == {1}
