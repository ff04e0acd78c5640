"""Language models: a small transformer, samplers behind one protocol, the ledger, and the sandbox for written code."""
