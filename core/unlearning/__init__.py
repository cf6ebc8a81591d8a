"""The kitchen: everything that trains or makes a model forget. `exact/` is the lattice's trainer."""
