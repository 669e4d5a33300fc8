"""DCL on GraphCL's host."""

from contrastbench.methods.dcl import DCL
from contrastbench.methods.graphcl_host import GraphCLHost


class GraphCLDCL(GraphCLHost, DCL):
    """The loss is corrected for the share of false negatives."""
