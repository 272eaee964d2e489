"""One file a guarantee: what may be removed under it, as a plan."""
