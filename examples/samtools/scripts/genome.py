"""Write a random genome of one chromosome as FASTA, the same for the same seed."""

import json
import os
import random

with open(os.environ["REPRO_JOB"], encoding="utf-8") as file:
    job = json.load(file)

chance = random.Random(job["params"]["genome_seed"])
bases = "".join(chance.choices("ACGT", weights=(3, 2, 2, 3), k=job["params"]["genome_length"]))
with open(job["outputs"]["fasta"], "w", encoding="ascii") as fasta:
    fasta.write(">chr1\n")
    fasta.writelines(bases[start : start + 60] + "\n" for start in range(0, len(bases), 60))
