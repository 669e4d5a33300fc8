"""UnReMix on GraphCL's host."""

from contrastbench.methods.graphcl_host import GraphCLHost
from contrastbench.methods.unremix import UnReMix


class GraphCLUnReMix(GraphCLHost, UnReMix):
    """Score every negative, weight it, contrast."""
