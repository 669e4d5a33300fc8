"""What the rows of a job must measure, written out from the parameters, part by part."""

from contrastbench.evaluation.suite import attacks_on, worst_cases
from contrastbench.params.own_attacks import own_attacks
from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import ATTACKS, WITHOUT_ENCODER, has_own_classifier
from contrastbench.results.protocols import Protocol


def asked_protocols(grid: Grid, stage: str, job: Job) -> set[Protocol]:
    """The protocols of a job's rows; of ``transfer_attack`` those of the target ``job.method``."""
    section = grid.track(job.track)
    if stage in ("probe", "transfer_probe"):
        low = {Protocol(family="low-label", shots=shots) for shots in section.probe.low_label_shots}
        return {Protocol(family="linear"), Protocol(family="knn"), *low}
    if stage == "cross_validate":
        if job.method == "wl-kernel":  # it has no features
            return {Protocol(family="fold-svm")}
        low = {Protocol(family="fold-low-label", shots=shots) for shots in section.probe.low_label_shots}
        return {*(Protocol(family=f"fold-{name}") for name in ("svm", "linear", "knn")), *low}
    if stage == "inductive":
        return {Protocol(family=f"inductive-{name}") for name in ("svm", "linear")}
    if stage == "validate_knn":
        return {Protocol(family="validation-knn")}
    if stage in ("few_shot", "validate_few_shot"):
        few = section.few_shot
        assert few is not None
        family = "few-shot" if stage == "few_shot" else "validation-few-shot"
        return {
            Protocol(family=family, way=few.way, shots=shots, classifier=classifier)
            for shots in few.shots
            for classifier in few.classifiers
        }
    if stage == "low_shot":
        assert section.low_shot is not None
        families = [{"training": "low-shot", "row": "low-shot-row-centred"}[name] for name in section.low_shot.centres]
        return {Protocol(family=family, shots=shots) for family in families for shots in section.low_shot.shots}
    if stage in ("corruptions", "head_corruptions"):
        asked = section.corruptions
        assert asked is not None
        at = {Protocol(family="corrupted-at", severity=severity) for severity in (0, *asked.severities)}
        by = {Protocol(family="corrupted-by", corruption=kind) for kind in asked.kinds}
        found = {Protocol(family="corrupted"), *at, *by}
        if stage == "corruptions":
            return found
        variant, suite = job.method not in section.methods, section.robustness
        assert suite is not None
        heads = suite.heads_of(section.base_method(job.method), variant=variant)
        return {protocol.model_copy(update={"head": head}) for protocol in found for head in heads}
    if stage == "diagnostics":
        common = {"unremix": "simclr", "graphs": "graphcl-simclr"}[job.track]  # whose encoder all share
        if job.method == common:
            return {Protocol(family="false-negatives", score=score, source=common) for score in ("random", "all")}
        ranked = ("weights", "uncertainty", "similarity", "representativeness")
        return {
            *(Protocol(family=f"gradient-{name}") for name in ("cosine", "cosine-best", "norm-ratio")),
            *(Protocol(family="false-negatives", score=score, source=common) for score in ranked),
            Protocol(family="effective-negatives", source=common),
        }
    if stage == "audio_attack":
        sound = section.audio_attack
        assert sound is not None
        steps = sound.steps
        spectrograms = [
            Protocol(family="audio-pgd-spectrogram", norm="linf", eps=eps, steps=steps) for eps in sound.spectrogram
        ]
        waves = [Protocol(family="audio-pgd-waveform", snr_db=snr_db, steps=steps) for snr_db in sound.snr_db]
        noise = [Protocol(family="audio-noise", snr_db=snr_db) for snr_db in sound.snr_db]
        return {Protocol(family="audio-clean"), *spectrograms, *waves, *noise}
    suite = section.robustness
    assert suite is not None
    if stage == "own_attack":
        heads = suite.heads_of(section.base_method(job.method), variant=job.method not in section.methods)
        return {
            Protocol(family="own-attack", attack=name, head=head, norm=ATTACKS[name].norm, eps=eps)
            for name, attack in own_attacks(section.own_attacks).items()
            for eps in attack.eps or ()
            for head in heads
        }
    if stage == "transfer_attack":
        main, sources = suite.budget(job.dataset).main, [m for m in section.methods if m not in WITHOUT_ENCODER]
        return {Protocol(family="transfer", source=source, norm="linf", eps=main) for source in sources}
    if stage == "shifted_attack":  # every head with the attacks of a variant, for every method
        return attacks(suite, job.judged, suite.heads, True)
    if stage == "validate":
        supervised = has_own_classifier(section.base_method(job.method))
        main, steps = suite.budget(job.dataset).main, suite.steps.pgd
        head = "own" if supervised else "slf"
        return {Protocol(family="validation-pgd", head=head, norm="linf", eps=main, steps=steps)}
    assert stage == "attack"
    variant = job.method not in section.methods
    return attacks(suite, job.dataset, suite.heads_of(section.base_method(job.method), variant=variant), variant)


def attacks(suite: RobustnessParams, dataset: str, heads: tuple[str, ...], variant: bool) -> set[Protocol]:
    """Every attack of the suite, or those of a variant, on some heads, and the worst cases."""
    found = set()
    for head in heads:
        specs = attacks_on(suite, dataset, head, variant=variant)
        for spec in specs:
            if not spec.has_row:
                continue
            norm = None if spec.kind == "clean" else spec.norm
            protocol = Protocol(family=spec.kind, head=head, norm=norm, eps=spec.eps, steps=spec.steps or None)
            assert protocol.name.removeprefix(f"{head}-") == spec.name, "one name in rows, verdicts and checkpoints"
            found.add(protocol)
        for norm, eps in worst_cases(specs):
            found.add(Protocol(family="worst-case", head=head, norm=norm, eps=eps))
    return found
