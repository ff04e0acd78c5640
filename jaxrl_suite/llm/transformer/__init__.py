"""The decoder: its config, weights in and out, tokens, decoding, sampling, training."""
