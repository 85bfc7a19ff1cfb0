"""The debug endpoints: what the control plane knows, read-only."""
