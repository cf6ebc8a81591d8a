"""The judge: is this model equivalent, within a stated margin, to one that never saw the forget set? Pure arrays.

    answers ──▶ one score per example, in 0..1 ──▶ an interval for its gap ──▶ inside, above, below or undecided
                (verifiers/: one file a question)    (gaps, intervals)           (equivalence)
                                                                                      │
    policy (versioned data: margins, levels) ──▶ request (T1), oracles (T2) ──▶ judgement: one of eight endings
                                                 qualification: is this judge fit to judge this recipe on this model?

It is given what models answered (logits or losses, labels, features) and computes its own losses. It shares no code
with what trains and unlearns, and loads no torch: one bug must not act and acquit. `catalogue` lists every verifier
with its card; `waiver` is how a named person takes responsibility for a refusal. What a verdict means and what it does
not stands in docs/verification.md; the background in arXiv:2304.04934 (V1), arXiv:2410.23232 (V3), arXiv:2406.01257 (V6).
"""
