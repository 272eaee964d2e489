"""Layers of other packages that are made of layers, opened: their inner calls in their place.

Own layers of a Functional model (a transformer's block, say) hide what they are made of. Called on
symbolic tensors they draw the calls of their inner layers, which become layers of a copy of the
model, named after where they stood. The copy is held against the model on random inputs before it
is used. What cannot be called like that stays whole, and the line that stops it is the reason.
"""

import contextlib
import functools
from collections.abc import Callable

from keras_l2feat.pruning.channels.copies import (
    clone,
    compile_like,
    from_config,
    set_weights,
    unbuilt,
)
from keras_l2feat.pruning.channels.symbolic import LEVELS, agree, call, is_own, retraced
from keras_l2feat.types import Layer, Model

__all__ = ["opened"]


def opened(model: Model, understood: Callable[[Layer], bool]) -> tuple[Model, dict[str, str]]:
    """The model with own layers opened that are made of others.

    Args:
        model: Functional or Sequential, built; it is not changed.
        understood: layer → whether it can stay as it is.

    Returns: the model, a copy where something could be opened, else the same; and layer name → why
        one that is made of others stays whole.
    """
    import keras

    own = [layer for layer in _flat(model) if _composite(layer) and not understood(layer)]
    reasons = {}
    if not own or isinstance(model, keras.Sequential):
        return model, reasons
    with _apart(model, own):
        traced = model
        for _ in range(LEVELS):
            further = _once(traced, understood, reasons)
            if further is None:
                break
            traced = further
        if traced is model:
            return model, reasons
        try:
            agree(model, traced)
            return _copied(traced, model), reasons
        except Exception as error:  # other people's layers; what they raise is theirs
            why = " ".join(str(error).split())[:300]
            return model, {**{layer.name: why for layer in own}, **reasons}


def _flat(model):
    return model._flatten_layers(include_self=False, recursive=True)


def _composite(layer):
    """Whether a layer is of another package and made of layers."""
    return is_own(layer) and any(True for _ in layer._flatten_layers(include_self=False))


@contextlib.contextmanager
def _apart(model, own):
    """Inner layers are called after the layers that they stand in, for a while: names in a model
    are unique."""
    before, used = {}, {layer.name for layer in model.layers}
    for outer in own:
        for layer in outer._flatten_layers(include_self=False, recursive=False):
            if id(layer) not in before:
                before[id(layer)] = layer, layer.name
                name, number = f"{outer.name}_{layer.name}", 0
                while (unique := name + f"_{number}" * bool(number)) in used:
                    number += 1
                layer.name = unique
                used.add(unique)
    try:
        yield
    finally:
        for layer, name in before.values():
            layer.name = name


def _once(model, understood, reasons):
    """The model with the calls inside its own layers in place of these; `None` where there is
    nothing to open."""
    import keras

    def opens(layer):
        return (
            _composite(layer)
            and not isinstance(layer, keras.Model)
            and not understood(layer)
            and layer.name not in reasons
        )

    def call_uncached(layer, arguments, options):
        with _without_cache(layer):
            return call(layer, arguments, options)

    def failed(layers, why):
        reasons.update({layer.name: why for layer in layers})

    return retraced(model, opens, call_uncached, failed)


MASK = "_compute_self_attention_mask"
ATTENTION = ("_self_attention_layer", "_cross_attention_layer")


@contextlib.contextmanager
def _without_cache(layer):
    """KerasHub's decoders meanwhile: the mask is a layer's, as symbolic tensors do not have the
    numbers of points and positions that it is computed from; attention is called without the
    arguments of a cache that is none."""
    before = {name: getattr(layer, name) for name in (MASK, *ATTENTION) if hasattr(layer, name)}
    if MASK not in before:
        yield
        return
    own = dict(vars(layer))
    vars(layer)[MASK] = functools.partial(_mask, layer.name, before[MASK])
    for name in ATTENTION:
        if before.get(name) is not None:
            vars(layer)[name] = functools.partial(_given, before[name])
    try:
        yield
    finally:
        for name in before:
            vars(layer).pop(name, None)
            if name in own:
                vars(layer)[name] = own[name]


def _mask(name, own, *, decoder_sequence, decoder_padding_mask, **options):
    from keras_l2feat.layers import CausalMask

    others = ("decoder_attention_mask", "self_attention_cache")
    if not options["use_causal_mask"] or any(options[other] is not None for other in others):
        padding = decoder_padding_mask
        return own(decoder_sequence=decoder_sequence, decoder_padding_mask=padding, **options)
    return CausalMask(name=f"{name}_mask")(decoder_sequence, decoder_padding_mask)


def _given(layer, **options):
    return layer(**{key: value for key, value in options.items() if value is not None})


def _copied(traced, model):
    """A copy with layers of its own, which keep the names that they have now."""
    copy, pairs = clone(traced, lambda layer: from_config(layer, unbuilt(layer.get_config())))
    for old, new in pairs:
        if old.weights:
            set_weights(new, old, old.get_weights())
    if model.compiled:
        compile_like(model, copy)
    return copy
