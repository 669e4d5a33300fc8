"""HCL on GraphCL's host."""

from contrastbench.methods.graphcl_host import GraphCLHost
from contrastbench.methods.hcl import HCL


class GraphCLHCL(GraphCLHost, HCL):
    """Negatives weighted by e^{beta s / temperature}."""
