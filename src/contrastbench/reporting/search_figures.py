"""What a budget of trials buys: the expected best validation score against the number of trials."""

import plotly.graph_objects as go

from contrastbench.params.track import TrackParams
from contrastbench.reporting.figures import Chart, styled
from contrastbench.reporting.looks import looks
from contrastbench.reporting.search import expected_maximum, scores, stage_of
from contrastbench.results.load import Loaded

READING = (
    "The expected best score on validation data of so many trials, drawn from all of a method's trials (Dodge et al., "
    "2019, in closed form). Where a line still rises, more trials would help that method; where lines cross, which "
    "method is best depends on the budget. Trials are points of one quasi-random design and the method as it is, not "
    "independent draws, so that a budget of that design does a little better."
)


def search_lines(loaded: Loaded, track: TrackParams) -> list[Chart]:
    """One line per method whose trials are all there; nothing without one."""
    search = track.search
    if search is None:
        return []
    found = {method: list(trials.values()) for method, trials in scores(loaded, track).items()}
    figure = go.Figure()
    for method, look in looks(found).items():
        if len(values := found[method]) == search.trials:
            expected = [100 * value for value in expected_maximum(values)]
            trials = [*range(1, search.trials + 1)]
            figure.add_scatter(x=trials, y=expected, name=method, mode="lines+markers", **look.drawn())
    if not figure.data:
        return []
    figure.update_xaxes(title="trials").update_yaxes(title=f"{stage_of(track).groups[0].title.lower()}, %")
    return [Chart("Expected best trial of the search", READING, styled(figure))]
