"""Any pytree comes back bit for bit; damage is found and never passed over."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrl_suite.core import checkpoint, devices


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


def test_another_structure_or_shape_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, {"x": jnp.zeros(2)}, {})
    for other in (
        {"y": jnp.zeros(2)},
        {"x": jnp.zeros(3)},
        {"x": jnp.zeros(2, jnp.int32)},
        (jnp.zeros(2),),
        {"x": 1.0},
    ):
        with pytest.raises(ValueError, match="another shape"):
            checkpoint.restore(tmp_path, other)
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoint.restore(tmp_path, {"x": jnp.zeros(2)}, 7)
    with pytest.raises(ValueError, match="leaf 0 of the carry is a"):
        checkpoint.save(tmp_path, 2, {"x": object()}, {})
