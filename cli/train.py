"""`l2feat train`: an L2-regularized network, trained on full batches."""

import math

import click

from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import Interrupted

# form: module of keras_l2feat.training whose
# `fit(network, data, *, lam, iterations, seconds, quiet)` returns a `training.Fit`
FORMS = {"representation": "representation", "covariance": "covariance"}


@click.command(epilog="Example: l2feat train mnist-1k --widths 50,50 --lam 1e-3 -o wide.keras")
@click.argument("data", metavar="DATA", type=InputFile())
@inputs.scale_option
@click.option(
    "--widths",
    type=options.Widths(),
    default="50,50",
    show_default=True,
    help="Hidden widths, as in 50,50.",
)
@options.number("--lam", "Amount λ of the L2 penalty.", default=1e-3)
@click.option(
    "--beta",
    type=options.Number(0),
    default=1.0,
    show_default=True,
    help="Amount β of bias; 0 for none.",
)
@click.option(
    "--activation", default="relu", show_default=True, help="Activation of the hidden layers."
)
@options.choice(
    "--method",
    ["lbfgs", "adam"],
    "Train by L-BFGS, or by the paper's Adam and then gradient descent.",
)
@options.choice(
    "--form",
    ["weights", *FORMS],
    "Optimize the weights, the hidden representations, or their covariances.",
)
@click.option(
    "--align",
    type=options.Number(0, math.pi / 2, max_open=True),
    metavar="ANGLE",
    help="Snap neurons within ANGLE radians onto common rays.",
)
@options.whole("--iterations", "Maximum number of iterations.", default=3000)
@options.number(
    "--tolerance",
    "Stop when the loss fell by less than this share of itself over 20 iterations.",
    default=1e-6,
)
@click.option("--seconds", type=options.Number(0), help="Maximum training time in seconds.")
@options.batch_size_option
@options.choice("--dtype", ["float32", "float64"], "Precision of the saved model.")
@outputs.output_option("Where to write the model.", required=True)
@outputs.json_option
@options.seed_option
@options.quiet_option
def command(
    data,
    widths,
    lam,
    beta,
    activation,
    method,
    form,
    align,
    tolerance,
    batch_size,
    dtype,
    output,
    seed,
    **limits,
):
    """Train a fully connected network on DATA and write it to OUT.keras.

    DATA is a name (mnist-1k, mnist-789-42, mnist, teacher) or an .npz file with x_train, y_train[,
    x_test, y_test]. Ctrl-C ends training; the best network so far is written, and the
    exit code is 130.
    """
    data = inputs.load_data(data)
    from keras_l2feat.files import save_model, separately
    from keras_l2feat.models import mlp
    from keras_l2feat.network import DenseNetwork
    from keras_l2feat.objectives import Problem
    from keras_l2feat.plateau.trial import measure
    from keras_l2feat.training import fit

    kind = {"activation": activation, "beta": beta, "lam": lam, "dtype": dtype, "seed": seed}
    model = mlp(data.x_train.shape[1], widths, data.outputs, **kind)
    try:
        if form == "weights":
            limits |= {"tolerance": tolerance, "batch_size": batch_size}
            fitted = fit(model, data, method=method, callbacks=_callbacks(align), **limits)
        else:
            fitted = _fit_form(form, model, data, lam, seed, limits)
    except Interrupted as stop:
        fitted = stop.best
        if not fitted.iterations:  # there is nothing yet
            raise
    if form != "weights":
        model = _holding(fitted.network, model, dtype, lam)
    network = DenseNetwork.from_model(model)
    trial = measure(network, Problem.of(network, data, lam), method=form, seed=seed)
    result = {
        **data.facts,
        "widths": list(fitted.network.hidden if form != "weights" else widths),
        "lam": lam,
        "beta": beta,
        "form": form,
        "loss": trial.loss,
        "test_loss": None if data.x_test is None else trial.test_loss,
        "test_accuracy": None if math.isnan(trial.test_accuracy) else trial.test_accuracy,
        "iterations": fitted.iterations,
        "seconds": fitted.seconds,
        "reason": fitted.reason,
        "output": output,
    }
    with separately():  # also where training was interrupted
        save_model(model, output)
        outputs.tell(
            result,
            f"loss {trial.loss:.6g} (λ term included), test loss {trial.test_loss:.4g}, "
            f"test accuracy {trial.test_accuracy:.4g}",
            f"{fitted.iterations} iterations in {fitted.seconds:.1f} s ({fitted.reason}), "
            f"written to {output}",
        )
    if fitted.reason == "interrupted":
        raise Interrupted(f"The best of {fitted.iterations} iterations is in {output}.")


def _callbacks(align):
    if align is None:
        return ()
    from keras_l2feat.callbacks import AlignNeurons

    return (AlignNeurons(angle=align),)


def _fit_form(form, model, data, lam, seed, limits):
    """Train in another form of the loss, from the model's weights."""
    import importlib

    from keras_l2feat.network import DenseNetwork

    module = importlib.import_module(f"keras_l2feat.training.{FORMS[form]}")
    draws = {"seed": seed} if form == "covariance" else {}
    return module.fit(DenseNetwork.from_model(model), data, lam=lam, **limits, **draws)


def _holding(network, model, dtype, lam):
    """`model` with the weights of `network`, or a new model where that has found widths of its
    own."""
    from keras_l2feat.network import DenseNetwork

    if network.widths != DenseNetwork.from_model(model).widths:
        return network.to_model(dtype=dtype, lam=lam)
    network.into_model(model)
    return model
