"""Policy decisions for Envoy: external authorization and rate limits by one set of rules."""
