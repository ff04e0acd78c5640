"""Any pytree comes back bit for bit; damage is found and never passed over."""

import json
import shutil
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrl_suite.core import checkpoint, devices
from jaxrl_suite.errors import UserError


class Carry(NamedTuple):
    keys: jax.Array
    params: dict
    host: np.ndarray
    count: int
    rate: float
    name: str
    nothing: None


def make(x=1.0) -> Carry:
    params = {"w": jnp.full((3, 2), x), "b": jnp.bfloat16(x), "empty": jnp.zeros((0, 4)), "on": jnp.array(True)}
    return Carry(jax.random.split(jax.random.key(7), 3), params, np.arange(4, dtype=np.float64), 3, 0.1, "n", None)


def bits(tree):
    def one(leaf):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes()
        return str(getattr(leaf, "dtype", type(leaf))), np.asarray(leaf).tobytes()

    return [one(leaf) for leaf in jax.tree.leaves(tree)]


def test_every_kind_of_leaf_survives(tmp_path):
    checkpoint.save(tmp_path / "c", 5, make(2.5), {"note": [1, "x"]})
    step, tree, meta = checkpoint.restore(tmp_path / "c", make())
    assert (step, meta) == (5, {"note": [1, "x"]})
    assert bits(tree) == bits(make(2.5))
    assert [type(leaf) for leaf in jax.tree.leaves(tree)] == [type(leaf) for leaf in jax.tree.leaves(make())]
    assert not tree.params["w"].committed  # free to go to another device, as it was


def test_keeps_the_last_two(tmp_path):
    for step in range(5):
        checkpoint.save(tmp_path, step, {"x": jnp.float32(step)}, {})
    assert checkpoint.latest_step(tmp_path) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3", "4"]
    assert checkpoint.restore(tmp_path, {"x": jnp.float32(0)}, 3).tree["x"] == 3


def test_comes_back_on_the_sharding_asked_for(tmp_path):
    checkpoint.save(tmp_path, 1, jnp.arange(8.0), {})
    mesh = devices.mesh(2)
    like = jax.device_put(jnp.zeros(8), NamedSharding(mesh, P("data")))
    tree = checkpoint.restore(tmp_path, like).tree
    assert tree.sharding == like.sharding
    np.testing.assert_array_equal(tree, np.arange(8.0))


def test_half_written_steps_do_not_count(tmp_path):
    assert checkpoint.latest_step(tmp_path / "none") is None
    checkpoint.save(tmp_path, 1, {"x": jnp.zeros(2)}, {})
    shutil.copytree(tmp_path / "1", tmp_path / "2.orbax-checkpoint-tmp")
    assert checkpoint.latest_step(tmp_path) == 1
    checkpoint.save(tmp_path, 2, {"x": jnp.ones(2)}, {})
    assert checkpoint.restore(tmp_path, {"x": jnp.zeros(2)}).step == 2


@pytest.mark.parametrize("how", ["truncate", "delete", "flip"])
def test_damage_is_found_wherever_it_is(tmp_path, how, capfd):
    checkpoint.save(tmp_path / "good", 1, make(), {})
    for path in [p.relative_to(tmp_path / "good") for p in sorted((tmp_path / "good").rglob("*")) if p.is_file()]:
        if path.name == checkpoint.FILES and how == "delete":
            continue  # a process killed just before it wrote the list
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        victim = tmp_path / "bad" / path
        data = victim.read_bytes()
        if how == "delete":
            victim.unlink()
        elif how == "truncate":
            victim.write_bytes(data[: len(data) // 2])
        else:
            victim.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
        with pytest.raises(ValueError, match="delete that folder") as caught:
            checkpoint.restore(tmp_path / "bad", make())
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_without_the_list_of_files_damage_is_still_an_error(tmp_path):
    checkpoint.save(tmp_path, 1, make(), {})
    (tmp_path / "1" / checkpoint.FILES).unlink()
    assert checkpoint.restore(tmp_path, make()).step == 1
    (tmp_path / "1" / "record" / "metadata").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.restore(tmp_path, make())


def test_a_class_of_the_carry_may_be_renamed(tmp_path):
    class Before(NamedTuple):
        first: jax.Array
        second: jax.Array

    class Renamed(NamedTuple):
        first: jax.Array
        second: jax.Array

    class Shorter(NamedTuple):
        both: tuple[jax.Array, jax.Array]

    parts = jnp.arange(2), jnp.arange(3)
    checkpoint.save(tmp_path, 1, {"pair": Before(*parts)}, {})
    restored = checkpoint.restore(tmp_path, {"pair": Renamed(*parts)}).tree["pair"]
    assert isinstance(restored, Renamed)
    np.testing.assert_array_equal(restored.second, parts[1])
    for other in (Shorter(parts), parts):
        with pytest.raises(ValueError, match="another shape"):
            checkpoint.restore(tmp_path, {"pair": other})


def test_the_first_leaf_that_differs_is_named(tmp_path):
    checkpoint.save(tmp_path, 1, {"net": Carry(*make()[:3], 3, 0.1, "n", None), "x": (jnp.zeros(2),)}, {})
    good = {"net": make(), "x": (jnp.zeros(2),)}
    for change, message in (
        (good | {"y": 1}, r"\.y \(number\) is not in it"),
        ({"net": make()}, r"it holds \.x\[0\] \(float32\[2\]\), which"),
        (good | {"x": (jnp.zeros(3),)}, r"\.x\[0\] is float32\[2\] there and float32\[3\] here"),
        (good | {"x": (jnp.zeros(2, jnp.int32),)}, r"\.x\[0\] is float32\[2\] there and int32\[2\] here"),
        (good | {"x": jnp.zeros(2)}, r"\.x \(float32\[2\]\) is not in it"),
        (good | {"x": (1.0,)}, r"\.x\[0\] is float32\[2\] there and number here"),
        (good | {"net": make()._replace(name=3)}, r"\.net\.name is text there and number here"),
        (good | {"net": make()._replace(host=np.zeros(5))}, r"\.net\.host is float64\[4\] there and float64\[5\]"),
        (good | {"net": make()._replace(host=np.zeros(4, np.float32))}, r"\.net\.host is float64"),
        (
            good | {"net": make()._replace(keys=jax.random.split(jax.random.key(7, impl="rbg"), 3))},
            r"\.net\.keys is key<",
        ),
    ):
        with pytest.raises(UserError, match=message) as caught:
            checkpoint.restore(tmp_path, change)
        assert "holds a state of another shape" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert checkpoint.restore(tmp_path, good).step == 1
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoint.restore(tmp_path, good, 7)


def test_what_cannot_be_kept_is_named_and_nothing_is_written(tmp_path):
    gone = jnp.ones(2)
    gone.delete()
    for leaf, message in (
        (object(), "a object"),
        (np.array(["a"]), "array of <U1"),
        (np.array("2024-01-01", "M8[D]"), r"array of datetime64\[D\]"),
        (np.array([None]), "array of object"),
        (np.zeros(2, "i4,f4"), "array of "),
        (np.ma.masked_array([1, 2], [True, False]), "masked array"),
        (np.zeros(2, np.longdouble), "of type float128, which cannot be stored"),
        (gone, "donated"),
        (signal.SIGINT, "a Signals"),
    ):
        with pytest.raises(UserError, match=rf"leaf \.x\.y.*{message}") as caught:
            checkpoint.save(tmp_path / "c", 1, {"w": jnp.ones(1), "x": {"y": leaf}}, {})
        assert "\n" not in str(caught.value)
        assert checkpoint.latest_step(tmp_path / "c") is None
    checkpoint.save(tmp_path / "c", 3, {"x": np.arange(3, dtype=">f4")}, {})
    restored = checkpoint.restore(tmp_path / "c", {"x": np.zeros(3, ">f4")}).tree["x"]
    assert restored.tobytes() == np.arange(3, dtype=">f4").tobytes()
    for step in (3, 2):
        with pytest.raises(UserError, match="holds step 3 already"):
            checkpoint.save(tmp_path / "c", step, {"x": np.zeros(3)}, {})


def test_an_abstract_tree_tells_what_comes_back(tmp_path):
    tree = {"keys": jax.random.split(jax.random.key(3, impl="rbg"), 2), "w": jnp.arange(4.0), "none": jnp.zeros((0, 2))}
    checkpoint.save(tmp_path, 1, tree, {})
    restored = checkpoint.restore(tmp_path, jax.eval_shape(lambda: tree)).tree
    assert bits(restored) == bits(tree)
    assert not restored["w"].committed
    mesh = devices.mesh(2)
    there = NamedSharding(mesh, P("data"))
    like = jax.eval_shape(lambda: tree) | {"w": jax.ShapeDtypeStruct((4,), jnp.float32, sharding=there)}
    assert checkpoint.restore(tmp_path, like).tree["w"].sharding == there
    with pytest.raises(UserError, match=r"\.w is float32\[4\] there and float32\[5\] here"):
        checkpoint.restore(tmp_path, like | {"w": jax.ShapeDtypeStruct((5,), jnp.float32)})


def test_a_record_of_an_earlier_version_is_read(tmp_path, monkeypatch):
    """Records without paths hold the structure as text, with the addresses of functions."""
    kept = json.dumps

    def without_paths(value, *args, **kwargs):
        if isinstance(value, dict) and "paths" in value:
            value = {k: v for k, v in value.items() if k != "paths"} | {"structure": str(jax.tree.structure(tree))}
        return kept(value, *args, **kwargs)

    def state(learning_rate=0.1):
        apply = lambda x: x  # noqa: E731
        return TrainState.create(apply_fn=apply, params={"w": jnp.ones(2)}, tx=optax.adam(learning_rate))

    tree = {"state": state(), "n": 3}
    monkeypatch.setattr(checkpoint.json, "dumps", without_paths)
    checkpoint.save(tmp_path, 1, tree, {})
    monkeypatch.undo()
    record = json.loads((tmp_path / "1" / "record" / "metadata").read_text())
    assert "paths" not in record
    assert " at 0x" in record["structure"]
    assert bits(checkpoint.restore(tmp_path, {"state": state(), "n": 0}).tree) == bits(tree)
    other = state()
    for change, message in (
        ({"state": other, "m": 3}, "its structure is another"),
        ({"state": other.replace(params={"w": jnp.ones(3)}), "n": 3}, r"\.state\.params\.w is float32\[2\] there"),
        ({"state": other, "n": jnp.ones(1)}, r"\.n is a number or text there and float32\[1\] here"),
    ):
        with pytest.raises(UserError, match=f"of another shape: {message}"):
            checkpoint.restore(tmp_path, change)
