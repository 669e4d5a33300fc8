"""Parameters of graph encoders, of augmentation, and of the protocols on graphs (specification of graphs)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from contrastbench.params.base import Section
from contrastbench.params.values import Depth, Share, Strengths, Width, without_repeats

Kind = Literal["nodes", "edges", "subgraph", "attributes"]


class GINParams(Section):
    """A graph isomorphism network: so many layers of this width; features are all layers' sums over a graph's nodes."""

    layers: Depth
    width: Width


class GraphAugmentParams(Section):
    """One random change of every graph, of a kind that is drawn per graph (section 5).

    kinds       what is drawn from: ``nodes`` dropped, ``edges`` removed, a ``subgraph`` kept, ``attributes`` masked
    share       of nodes or directed edges that are dropped, removed or masked, rounded down
    subgraph    share of the nodes that the random walk keeps besides its start, rounded down
    walk        ``connected``: grows along edges from all nodes that it has; ``published``: never leaves the
                neighbourhood of its start, because GraphCL's code drops the result of a set union
    added_edges whether as many random edges are added as are removed, which GraphCL's code has commented out
    """

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1), AfterValidator(without_repeats)]
    share: Share
    subgraph: Share
    walk: Literal["connected", "published"]
    added_edges: bool


class FoldsParams(Section):
    """Stratified cross-validation of graphs (section 6), split anew for every seed.

    outer          folds, each of which is the test set once
    inner          folds of each training part, by which the support vector machine's C is chosen
    strengths      the candidates of C
    wl_iterations  of the Weisfeiler-Lehman subtree kernel
    """

    outer: Annotated[int, Field(ge=2, le=1000)]
    inner: Annotated[int, Field(ge=2, le=1000)]
    strengths: Strengths
    wl_iterations: Annotated[int, Field(ge=1, le=100)]


class InductiveParams(Section):
    """The switch for encoders that are trained on the training folds alone, one for each test fold and seed.

    It has no keys: ``inductive: {}``.
    """
