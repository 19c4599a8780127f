"""What fits on the nodes of a cluster, on exact numbers; nothing here starts Ray."""

import sys

import pytest

from cord_distill.cli import main
from cord_distill.engines.ray.capacity import Need, Node, placed, summary
from cord_distill.recipe.cluster import ClusterConfig
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe

TWO = [Node("a", 8, 64), Node("b", 8, 64)]


def need(label, gpus, replicas=1):
    return Need(f"teachers.{label}", label, gpus, replicas)


def test_every_model_gets_its_first_replica_before_any_gets_a_second():
    """Fails the version that places model by model: eight replicas of the first would take all 16 GPUs."""
    assert placed(TWO, [need("small", 2, 8), need("large", 4, 2), need("prover", 2)]) == [3, 2, 1]


def test_the_largest_goes_first_and_small_ones_leave_whole_nodes_free():
    """Fails first come first served: two small ones on two nodes leave no room for one of eight."""
    assert placed(TWO, [need("a", 1), need("b", 1), need("whole", 8)]) == [1, 1, 1]


def test_gpus_of_two_nodes_are_no_node_of_twice_the_size():
    lines, faults = summary(TWO, [need("huge", 16)])
    assert lines == [
        "cluster: 2 nodes, 16 GPUs (2 x 8), 128 CPUs",
        "cluster: teachers.huge huge, 16 GPUs each: 0 of 1 fit; the others start when nodes join",
    ]
    assert faults == [
        "cluster: teachers.huge huge needs 16 GPUs of one node and no node has 16 GPUs (the largest has 8): add nodes"
    ]


def test_an_empty_cluster_is_no_error_of_arithmetic():
    lines, faults = summary([], [need("a", 0)])
    assert lines[0] == "cluster: 0 nodes, 0 GPUs, 0 CPUs" and faults == [
        "cluster: teachers.a a needs 1 CPU of one node and no room is left: add nodes"
    ]


def test_replicas_on_cpus_take_a_cpu_each():
    nodes = [Node("head", 0, 0), Node("a", 0, 1), Node("b", 0, 1), Node("c", 0, 1)]
    assert placed(nodes, [need("a", 0, 5), need("b", 0)]) == [2, 1]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"teachers": [{"model": "a/b", "replicas": 2}]}, "without a cluster there is one engine of a model"),
        ({"teachers": [{"model": "a/b", "devices": [0]}], "cluster": {}}, "remove devices"),
        ({"cluster": {"drivers": 0}}, "drivers"),
        ({"teachers": [{"model": "a/b", "engine": "server", "url": "http://a", "replicas": 2}]}, "a list of urls"),
        ({"cluster": {"address": "ray://head:10001"}}, "give auto or host:port"),
        ({"cluster": {"address": "head"}}, "'head' is no cluster"),
        ({"cluster": {"address": "http://head:6379"}}, "is no cluster"),
    ],
    ids=[
        "replicas alone",
        "devices",
        "no driver",
        "server",
        "Ray Client",
        "no port",
        "a URL",
    ],
)
def test_what_cannot_be_is_refused_with_the_key_and_the_fix(keys, said):
    with pytest.raises(ValueError, match=said):
        Recipe(name="x", **keys)


def test_a_cluster_and_replicas_change_no_result():
    """Fails the version whose journal is another one on a cluster: a run could not go on elsewhere."""
    from cord_distill.decode.inputs import decode_inputs

    here = load_recipe("r1_qwen_14b", ["teachers.0.devices=null", "teachers.1.devices=null", "teachers.2.devices=null"])
    there = here.model_copy(
        update={
            "cluster": ClusterConfig(),
            "teachers": [teacher.model_copy(update={"replicas": 8}) for teacher in here.teachers],
        }
    )
    assert decode_inputs(there) == decode_inputs(here)


def test_without_ray_the_check_says_how_to_get_it(monkeypatch, capsys):
    """Fails the traceback of a missing module."""
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["check", "quickstart", "cluster={address: auto}"]) == 2
    assert "missing: cluster: needs Ray on every node: pip install 'cord-distill[ray]'" in capsys.readouterr().err


def test_the_check_says_what_several_drivers_need(monkeypatch, tmp_path):
    from cord_distill.run import check_cluster

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check_cluster, "nodes_of", lambda recipe: [Node("a", 0, 8)])
    line = "cluster: 3 drivers search, each keeps about one core busy; all nodes must share outputs/quickstart"
    for drivers, said in ((1, []), (3, [line])):
        recipe = load_recipe("quickstart", [f"cluster={{drivers: {drivers}}}"])
        lines, faults = check_cluster.cluster_page([recipe])
        assert [one for one in lines if "drivers" in one] == said and not faults
