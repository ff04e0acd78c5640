"""Code that runs inside the sandbox. It may import the standard library, itself, and JAX where a worker has it."""
