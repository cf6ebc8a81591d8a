"""What running a method was measured to cost, as shares of a retrain. Written by `python -m benchmarks.approximate.pages`."""

from __future__ import annotations

from collections.abc import Mapping

RETRAIN_SHARES: Mapping[str, Mapping[str, float]] = {
    "retrain": {"mixture": 1.4, "facts": 1.5, "curve": 1.5, "digits": 1.5},
    "fine_tune": {"mixture": 0.24, "facts": 0.2, "curve": 0.076, "digits": 0.26},
    "gradient_ascent": {"mixture": 0.052, "facts": 0.054, "curve": 0.017, "digits": 0.058},
    "gradient_difference": {"mixture": 0.061, "facts": 0.067, "curve": 0.02, "digits": 0.067},
    "random_label": {"mixture": 0.26, "facts": 0.23, "digits": 0.27},
    "salun": {"mixture": 0.26, "facts": 0.23, "digits": 0.28},
    "l1_sparse": {"mixture": 0.24, "facts": 0.2, "curve": 0.076, "digits": 0.26},
    "scrub": {"mixture": 0.31, "facts": 0.26, "digits": 0.33},
    "bad_teacher": {"mixture": 0.33, "facts": 0.31, "digits": 0.35},
    "selective_synaptic_dampening": {"mixture": 0.035, "facts": 0.033, "curve": 0.011, "digits": 0.037},
    "label_free_synaptic_dampening": {"mixture": 0.035, "facts": 0.033, "curve": 0.011, "digits": 0.037},
    "influence": {"mixture": 0.85, "facts": 1.3, "curve": 0.51, "digits": 1.7},
    "task_arithmetic": {"mixture": 0.059, "facts": 0.061, "curve": 0.019, "digits": 0.066},
    "negmerge": {"mixture": 0.19, "facts": 0.2, "curve": 0.062, "digits": 0.21},
    "negative_preference": {"mixture": 0.12, "facts": 0.13, "digits": 0.13},
    "simple_negative_preference": {"mixture": 0.17, "facts": 0.18, "digits": 0.18},
    "representation_misdirection": {"facts": 0.51},
    "gaussian_amnesiac": {"curve": 0.081},
    "blindspot": {"curve": 0.16},
    "datamodel_matching": {"mixture": 0.52, "curve": 0.16, "digits": 0.54},
}
