"""The judge's tests: formulas against independent references, rates by simulation, wrecks on models trained here."""
