"""`l2feat check`: is a pruned model the original, by a program that did not prune?"""

import click

from keras_l2feat import files
from keras_l2feat.cli import inputs, options, outputs
from keras_l2feat.cli.paths import InputFile
from keras_l2feat.errors import CheckFailed


@click.command(epilog="Example: l2feat check wide.keras small.keras small.json --exact")
@click.argument("original", metavar="ORIGINAL", type=InputFile())
@click.argument("pruned", metavar="PRUNED", type=InputFile())
@click.argument("certificate", metavar="CERTIFICATE", type=InputFile())
@inputs.weights_option
@click.option(
    "--exact",
    is_flag=True,
    help="Count in integers instead of float64: nothing is rounded, and it takes much longer.",
)
@outputs.json_option
@options.quiet_option
def command(original, pruned, certificate, exact, quiet):
    """Read the weights of both models, and say by how much they would have to change for the two to
    be one function, for every input that the certificate is about.

    ORIGINAL and PRUNED are files of models (.keras, .h5, or .json with --weights) or zoo:NAME,
    CERTIFICATE what l2feat prune --certificate wrote. The certificate says which units went and by
    which ones each can be expressed; none of it is believed. The exit code is 0 if the models are
    shown to be equal, 1 if not.
    """
    from keras_l2feat.checking import check
    from keras_l2feat.pruning.certificate import load_certificate
    from keras_l2feat.pruning.channels.read import read
    from keras_l2feat.text import printable

    claim, maps = load_certificate(certificate)
    graphs = read(inputs.load_source(original)), read(inputs.load_source(pruned))
    verdict = check(*graphs, maps, exact=exact, input_range=claim.input_range)
    how = "in integers" if exact else "in float64"
    shown = [printable(f"Shown {how}: {claim.text}, {verdict}.")] if verdict.accepted else []
    with files.separately():  # the answer, whatever it is
        outputs.tell(
            {"sources": [original, pruned], "claim": claim.to_json(), **verdict.to_json()}, *shown
        )
    if not verdict.accepted:
        raise CheckFailed(f"the pruned model is {verdict}.")
