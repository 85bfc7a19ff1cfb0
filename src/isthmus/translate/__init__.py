"""Pure translation: (joined view, config, proxy) to Envoy resources. No I/O."""
