"""A track of graphs: an encoder, trained in one go, and judged in stratified folds."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SerializeAsAny, model_validator

from contrastbench.params.base import Section, SectionFrom, refusal
from contrastbench.params.dataset_names import require_dataset_at
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.graphs import FoldsParams, GINParams, GraphAugmentParams, InductiveParams
from contrastbench.params.settings import settings_of_modality
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.values import BatchSize
from contrastbench.params.variants import GraphVariant, Label, Variant, flat


class GraphPretrainParams(ScratchParams):
    """What training a method on graphs reads."""

    modality: ClassVar[str] = "graph"
    encoder: GINParams
    augment: GraphAugmentParams
    settings: SerializeAsAny[Section]


class HostsTraining(Section):
    """How the two hosts are trained: GraphCL with its losses, and InfoGraph with its own."""

    graphcl: TrainingParams
    infograph: TrainingParams


class GraphTrack(TrackParams):
    """A section of params.yaml.

    batches    for each data set the batch size that takes the place of ``training``'s. The published loader keeps a
               last, smaller batch, which the training loop skips; equal batches, as many as published, lose no graph,
               or a few that change with every epoch
    folds      the protocols that judge an encoder
    inductive  the same of encoders that saw the training folds alone
    """

    modality: ClassVar[str] = "graph"
    refuses: ClassVar[dict[str, str]] = {
        "transfer": "features of another data set's node labels mean nothing",
        "few_shot": "this section judges sound",
        "low_shot": "this section judges sound",
        "corruptions": "this section corrupts images",
        "robustness": "this section attacks images",
        "audio_attack": "this section attacks sound",
        "search": "trials are judged on validation data, of which graphs in folds have none",
    }
    changed: ClassVar[tuple[str, ...]] = ("encoder", "augment", "training")
    variant_class: ClassVar[type[Variant]] = GraphVariant

    variants: Mapping[Label, GraphVariant]
    encoder: GINParams
    augment: GraphAugmentParams
    training: HostsTraining
    batches: dict[str, BatchSize]
    settings: Annotated[Section, SectionFrom(lambda: settings_of_modality("graph"))]
    folds: FoldsParams
    inductive: InductiveParams | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _batches_are_of_graphs(self) -> Self:
        for name in self.batches:
            require_dataset_at(name, self.modality, "batches", name)
        return self

    @model_validator(mode="after")
    def _no_curve(self) -> Self:
        if self.curve.every_epochs:
            message = "must be 0: the curve is measured on validation data, of which graphs in folds have none"
            raise refusal(message, "curve", "every_epochs", value=self.curve.every_epochs)
        return self

    @model_validator(mode="after")
    def _variants_have_the_tracks_batches(self) -> Self:
        for label, variant in self.variants.items():
            for key in flat(variant.training):
                if key.endswith(".batch_size"):
                    message = "`batches` decides the size for each data set; change it there, in a preset"
                    raise refusal(message, "variants", label, "training", *key.split("."))
        return self

    def _check_read(self, variant: Variant, *path: str | int) -> None:
        """Also: InfoGraph augments nothing."""
        super()._check_read(variant, *path)
        if variant.method.startswith("infograph"):
            for key in flat(variant.changes()):
                if key.startswith("augment."):
                    raise refusal(f"{variant.method} does not read this key", *path, key)

    def pretrain(self, label: str, dataset: str) -> GraphPretrainParams:
        """The resolved parameters of one method or variant, on batches of the data set's own size."""
        params = super().pretrain(label, dataset)
        assert isinstance(params, GraphPretrainParams)
        size = self.batches.get(dataset, params.training.batch_size)
        return params.model_copy(update={"training": params.training.model_copy(update={"batch_size": size})})

    def resolve(self, method: str, sections: Mapping[str, Any]) -> GraphPretrainParams:
        """What training a method reads: all of it, and of the training its host's."""
        training: HostsTraining = sections["training"]
        host = training.infograph if method.startswith("infograph") else training.graphcl
        return GraphPretrainParams(track=self._name, method=method, **{**sections, "training": host})
