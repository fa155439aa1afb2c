"""Seconds, memory and rounding of the local denoisers, by `benchmarks/`.

    python workflow/scripts/speed.py

writes data/results/speed.json: what benchmarks/masked.py and local_denoisers.py print,
in one run each. Only ratios carry over to another machine.
"""

import sys

import torch

from helpers import paths
from helpers.artifacts import Experiment

sys.path.append(str(paths.ROOT / "benchmarks"))

import local_denoisers
import masked

SETS = ["cifar10-train", "cifar10-test"]


def main():
    parameters = {"threads": torch.get_num_threads()}
    with Experiment(__file__, 0, SETS, parameters) as experiment:
        found = parameters.copy()
        for name, bench in (("masked", masked), ("local", local_denoisers)):
            options = bench.parser().parse_args([])
            found[name] = vars(options) | bench.main(options)
        experiment.save("results/speed.json", found)


if __name__ == "__main__":
    main()
