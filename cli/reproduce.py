"""`l2feat reproduce NAME`: one figure or claim of the papers, from one command."""

import click

from keras_l2feat.cli.main import LazyGroup

# name: (module of keras_l2feat.experiments, help line). The module holds `command`, from
# `record.figure`.
FIGURES = {
    "fig1": ("fig1", "Attraction and repulsion on MNIST 7, 8, 9 [Jacot et al. 2022, Fig. 1]."),
    "fig2": ("fig2", "Loss against width: the plateau [Jacot et al. 2022, Fig. 2]."),
    "landscape": ("landscape", "Activation regions with global and spurious minima."),
    "linear": ("linear", "Deep linear networks: the Schatten norm."),
    "prop13": ("prop13", "Completely positive matrices of triangle-free graphs."),
    "prop14": ("prop14", "The plateau of the bipartite construction starts at N²/4."),
    "prop15": ("prop15", "In one dimension 4N neurons suffice."),
    "prop19": ("prop19", "A minimum of the weights that is none of the covariances."),
    "symmetries": ("symmetries", "How many minima and critical subspaces; paths between minima."),
}


@click.group(
    cls=LazyGroup,
    rows=FIGURES,
    package="keras_l2feat.experiments",
    epilog="Example: l2feat reproduce prop14",
)
def command():
    """Remake a figure or check a claim of the papers, into results/NAME/."""
