"""`l2feat reproduce NAME`: one figure or claim of the papers, from one command."""

import click

from keras_l2feat.cli import options, outputs
from keras_l2feat.cli.main import LazyGroup

# name: (module of keras_l2feat.experiments, help line). The module holds `command`, a
# `record.Figure`.
FIGURES = {
    "fig1": ("fig1", "Attraction and repulsion on MNIST 7, 8, 9 [Jacot et al. 2022, Fig. 1]."),
    "fig2": ("fig2", "Loss against width: the plateau [Jacot et al. 2022, Fig. 2]."),
    "fig2-60k": ("fig2_60k", "The same on the full MNIST."),
    "landscape": ("landscape", "Activation regions with global and spurious minima."),
    "linear": ("linear", "Deep linear networks: the Schatten norm."),
    "prop13": ("prop13", "Completely positive matrices of triangle-free graphs."),
    "prop14": ("prop14", "The plateau of the bipartite construction starts at N²/4."),
    "prop15": ("prop15", "In one dimension 4N neurons suffice."),
    "prop19": ("prop19", "A minimum of the weights that is none of the covariances."),
    "symmetries": ("symmetries", "How many minima and critical subspaces; paths between minima."),
}


class Figures(LazyGroup):
    """The figures as commands, all with the same options beside their own."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        figure = super().get_command(ctx, name)
        if figure is None:
            return None

        @click.command(
            name, help=figure.summary, epilog=f"Example: l2feat reproduce {name} -o results/{name}"
        )
        @outputs.folder_option("Folder for the results.", default=f"results/{name}")
        @outputs.json_option
        @options.seed_option
        @options.quiet_option
        def command(output, seed, quiet, **options):
            text = figure.make(output, seed=seed, quiet=quiet, **options)
            found = {"figure": name, "seed": seed, "output": str(output), "found": text}
            outputs.tell(found, text, f"Written to {output}/")

        for option in reversed(figure.options):
            command = option(command)
        return command


@click.group(
    cls=Figures,
    rows=FIGURES,
    package="keras_l2feat.experiments",
    epilog="Example: l2feat reproduce prop14",
)
def command():
    """Remake a figure or check a claim of the papers, into results/NAME/."""
