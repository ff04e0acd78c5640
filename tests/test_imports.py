"""Importing the package starts no JAX backend: platform flags and `jax.distributed.initialize` must work after it."""

import subprocess
import sys

CODE = """
import importlib, pkgutil, warnings
warnings.simplefilter("ignore")
import jaxrl_suite
names = [m.name for m in pkgutil.walk_packages(jaxrl_suite.__path__, "jaxrl_suite.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
import jax._src.xla_bridge as bridge
assert not bridge._backends, "a module starts the backend when it is imported"
print(len(names))
"""


def test_importing_every_module_starts_no_backend():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15
