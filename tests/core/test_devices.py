"""The same rows on one device and on eight; compilation that reports its cost; set-up that respects the user."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.core import devices

EIGHT = """
import jax, jax.numpy as jnp, numpy as np
from jaxrl_suite.core import devices
devices.setup(num_devices=8)
assert jax.device_count() == 8, jax.devices()
devices.setup(num_devices=8)

def play(params, key, x):
    def row(key, x):
        def turn(x, key):
            return jnp.tanh(x + params * jax.random.normal(key, x.shape)), None
        return jax.lax.scan(turn, x, jax.random.split(key, 20))[0]
    y = jax.vmap(row)(key, x)
    return {"y": y, "best": jnp.argmax(y, -1)}

key, x = jax.random.split(jax.random.key(0), 16), jnp.linspace(-1, 1, 48).reshape(16, 3)
results = []
for n in (1, 2, 8):
    mesh = devices.mesh(n)
    k, b = devices.shard_batch((key, x), mesh)
    out = devices.map_batch(play, mesh, replicated=(0,))(jnp.float32(0.3), k, b)
    assert len(out["y"].sharding.device_set) == n
    results.append(jax.tree.map(np.asarray, out))
for other in results[1:]:
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, results[0], other)))
assert [devices.mesh(n, batch=b).size for n, b in ((None, 8), (None, 12), (3, 8), (5, 7))] == [8, 6, 2, 1]
try:
    devices.mesh(9)
except ValueError as error:
    print(error)
"""


def test_one_device_equals_eight():
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    done = subprocess.run([sys.executable, "-c", EIGHT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "9 devices asked for and 8 present: choose 1 to 8\n"


def test_a_batch_that_does_not_split_is_refused():
    mesh = devices.mesh(2)
    with pytest.raises(ValueError, match="multiple of 2"):
        devices.shard_batch(jnp.zeros(3), mesh)
    with pytest.raises(ValueError, match="multiple of 2"):
        devices.map_batch(lambda x: x, mesh)(jnp.zeros((5, 2)))
    with pytest.raises(ValueError, match="choose 1 to 2"):
        devices.mesh(0)


def test_compile_reports_what_it_cost():
    product, record = devices.compile(
        lambda a, b: a @ b, jnp.ones((8, 4)), jax.ShapeDtypeStruct((4, 2), jnp.float32), name="p"
    )
    np.testing.assert_array_equal(product(jnp.ones((8, 4)), jnp.ones((4, 2))), np.full((8, 2), 4.0))
    assert record.argument_bytes == (32 + 8) * 4
    assert record.output_bytes == 16 * 4
    assert record.seconds > 0
    assert "p compiled in" in str(record)


def test_setup_respects_the_user(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="in one place"):
        devices.setup(num_devices=3)  # JAX_NUM_CPU_DEVICES is set in the tests
    devices.setup()
    assert jax.device_count() == 2
    monkeypatch.setenv(devices.CACHE_VARIABLE, "off")
    assert devices.cache_folder() is None
    monkeypatch.setenv(devices.CACHE_VARIABLE, str(tmp_path))
    assert devices.cache_folder() == tmp_path
    monkeypatch.delenv(devices.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path in (devices.cache_folder() or tmp_path).parents


def test_describe_and_sizes():
    assert devices.describe().startswith("2 CPU devices (")
    assert [devices.format_bytes(x) for x in (0, 999, 1500, 2.5e9, 3e13)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 GB",
        "30 TB",
    ]


DAMAGED = """
import sys
from jaxrl_suite.core import devices
devices.setup(num_devices=1)
import jax, jax.numpy as jnp
def f(x):
    for i in range(5):
        x = jnp.sin(x @ x.T) + i
    return x.sum()
print(float(jax.jit(f)(jnp.eye(4))))
"""


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data[:-9] + bytes(9)])
def test_a_damaged_program_in_the_cache_is_replaced(damage, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def run():
        done = subprocess.run([sys.executable, "-c", DAMAGED], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    right, said = run()
    (entry,) = tmp_path.glob("jit_f-*-cache")
    entry.write_bytes(damage(entry.read_bytes()))
    result, said = run()
    assert result == right
    line = f"The compilation cache {tmp_path} holds a damaged program of jit_f: it was deleted and is compiled again."
    assert said.splitlines()[-1] == line
    assert run() == (right, "")
