"""A sampler over any OpenAI-compatible server: its config, what goes over the wire, and the transport."""
