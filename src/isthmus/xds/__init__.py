"""ADS streams: subscriptions, nonces, pushes. Knows bytes and names, not what they mean."""
