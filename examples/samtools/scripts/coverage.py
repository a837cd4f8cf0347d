"""Draw the coverage of each sample along the genome, averaged over windows."""

import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

with open(os.environ["REPRO_JOB"], encoding="utf-8") as file:
    job = json.load(file)

window = job["params"]["window"]
figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
for table in job["inputs"]["depth"]:
    depth = np.loadtxt(table, usecols=2)
    whole = len(depth) // window * window
    means = depth[:whole].reshape(-1, window).mean(axis=1)
    middles = (np.arange(len(means)) + 0.5) * window / 1000
    axes.plot(middles, means, linewidth=1, label=f"{Path(table).stem} (mean {depth.mean():.1f})")
axes.set(xlabel="position on chr1 (kb)", ylabel=f"reads, mean of {window} bases", ylim=(0, None))
axes.set_title("Coverage by sample")
axes.legend(frameon=False)
figure.savefig(job["outputs"]["figure"], dpi=120)
