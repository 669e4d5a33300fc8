# The whole benchmark as one graph: `snakemake --cores all`. The rules are in src/contrastbench/workflow/.
from contrastbench.workflow import SNAKEFILE


include: SNAKEFILE


rule all:
    input:
        TARGETS,
