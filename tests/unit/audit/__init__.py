"""Trees, notes, certificates, and what must not verify."""
