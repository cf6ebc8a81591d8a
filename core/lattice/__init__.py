"""Who learned what: pure combinatorics, and all that a deletion needs to know (no torch, no database, no arrays).

`placement` puts an owner into a shard and a slice; `families` says which sets of slices get a node; `survival` says
which nodes a deletion switches off and which are served after it; `occupancy` counts owners and proposes a lattice;
`cost` prices sets of slices, for previews; `hits` knows how likely each set of hit slices is; `planner` says what a lattice
will bear and cost before anybody commits to it.
"""
