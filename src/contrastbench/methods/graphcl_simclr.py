"""SimCLR on GraphCL's host."""

from contrastbench.methods.graphcl_host import GraphCLHost
from contrastbench.methods.simclr import SimCLR


class GraphCLSimCLR(GraphCLHost, SimCLR):
    """Two views, NT-Xent."""
