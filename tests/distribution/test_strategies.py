"""From words to a strategy."""

import json

import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.distribution import strategies


def test_none_is_one_device():
    strategy = ki.strategy()
    assert strategy.num_replicas_in_sync == 1
    assert strategies.is_chief(strategy)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"distribution": "parameter_server"}, "distribution"),
        ({"devices": 2}, "devices"),
        ({"distribution": "mirrored", "devices": 0}, "devices"),
        ({"workers": ["a:1"]}, "workers"),
        ({"distribution": "multi_worker", "workers": ["a:1", "b"]}, "Received: 'b'"),
        ({"distribution": "multi_worker", "workers": ["a:1", "b:x"]}, "Received: 'b:x'"),
        ({"distribution": "multi_worker", "workers": ["a:1", "b:70000"]}, "b:70000"),
        ({"distribution": "multi_worker", "workers": ["a:1", "a:1"]}, "another host:port"),
        (
            {"distribution": "multi_worker", "workers": ["a:1"], "worker_index": 1},
            "Invalid value for `worker_index`",
        ),
        ({"distribution": "multi_worker"}, "TF_CONFIG"),
    ],
)
def test_settings_that_do_not_fit_are_refused(monkeypatch, settings, reason):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=reason):
        ki.strategy(**settings)


def test_a_running_processor_is_not_divided():
    tf.zeros([1])
    with pytest.raises(ValueError, match="make the strategy first of all.*Received: devices=3"):
        ki.strategy("mirrored", devices=3)


def test_workers_are_set_in_tf_config(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")
    strategies._join(["10.0.0.1:2222", " 10.0.0.2:2222"], 1)
    assert json.loads(strategies.os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
        "task": {"type": "worker", "index": 1},
    }


@pytest.mark.parametrize("distribution", ["none", "multi_worker"])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{worker", "Expected JSON such as .*Received: TF_CONFIG='{worker'"),
        ("[]", "Expected JSON such as"),
        ('{"task": 3}', "Expected JSON such as"),
        ('{"task": {"type": "evaluator", "index": 0}}', "Received: type='evaluator'"),
        ('{"task": {"type": "ps", "index": 0}}', "Received: type='ps'"),
    ],
)
def test_a_cluster_that_gives_no_work_is_refused(monkeypatch, distribution, config, message):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=message):
        ki.strategy(distribution)
