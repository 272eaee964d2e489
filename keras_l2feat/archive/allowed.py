"""What a model's configuration may name: lists, and the objects of the installed Keras that they
stand for.

A name that is in no list is refused, however harmless it may be; a test holds these lists against
the installed Keras, so that what a new version adds is decided upon and never let in by default.
"""

import functools
import sys
import types
from typing import Any

__all__ = ["FUNCTIONS", "OPERATION_MODULES", "REFUSED", "allowed", "is_function", "is_object"]

_CLASSES = {
    "layers": """
        Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
        AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
        AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
        AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding
        CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose
        Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
        Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot
        Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout
        GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
        GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
        GroupQueryAttention GroupedQueryAttention HashedCrossing Hashing Identity InputLayer
        IntegerLookup LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes
        MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp
        MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN
        RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast
        RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur
        RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
        RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector
        Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D
        SeparableConv2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
        SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup
        Subtract TextVectorization TimeDistributed UnitNormalization UpSampling1D UpSampling2D
        UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D""",
    "models": "Functional Model Sequential",
    "src.applications.convnext": "LayerScale StochasticDepth",
    "src.applications.inception_resnet_v2": "CustomScaleLayer",
    "initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform
        Ones Orthogonal RandomNormal RandomUniform STFT TruncatedNormal VarianceScaling Zeros""",
    "regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
    "constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "dtype_policies": """
        AWQDTypePolicy DTypePolicy DTypePolicyMap FloatDTypePolicy GPTQDTypePolicy Int4DTypePolicy
        QuantizedDTypePolicy QuantizedFloat8DTypePolicy""",
    "quantizers": """
        AbsMaxQuantizer Float8QuantizationConfig Int4QuantizationConfig Int8QuantizationConfig""",
    "random": "SeedGenerator",
    "optimizers": """
        Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon Nadam
        RMSprop SGD ScheduleFreeAdamW""",
    "optimizers.schedules": """
        CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
        PolynomialDecay""",
    "losses": """
        BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy
        CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
        CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError
        MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
        SparseCategoricalCrossentropy SquaredHinge Tversky""",
    "metrics": """
        AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy
        CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score
        FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence LogCoshError Mean
        MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanSquaredError
        MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision
        PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
        SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
        SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum
        TopKCategoricalAccuracy TrueNegatives TruePositives""",
}
_FUNCTIONS = {
    "activations": """
        celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
        leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink
        softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh
        tanh_shrink threshold""",
    "ops": """
        abs absolute celu clip cos elu exp expm1 gelu hard_sigmoid hard_silu hard_swish identity
        leaky_relu log log1p log_sigmoid log_softmax maximum minimum negative relu relu6 rsqrt selu
        sigmoid sign silu sin softmax softplus softsign sqrt square swish tanh""",
    "losses": """
        binary_crossentropy binary_focal_crossentropy categorical_crossentropy
        categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge
        circle cosine_similarity ctc dice hinge huber kl_divergence log_cosh mean_absolute_error
        mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
        sparse_categorical_crossentropy squared_hinge tversky""",
    "metrics": """
        binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy
        categorical_crossentropy categorical_focal_crossentropy categorical_hinge
        concordance_correlation cosine_similarity hinge huber kl_divergence log_cosh
        mean_absolute_error mean_absolute_percentage_error mean_squared_error
        mean_squared_logarithmic_error pearson_correlation poisson sparse_categorical_accuracy
        sparse_categorical_crossentropy sparse_top_k_categorical_accuracy squared_hinge
        top_k_categorical_accuracy""",
}
CLASSES = {kind: frozenset(names.split()) for kind, names in _CLASSES.items()}
FUNCTIONS = {kind: frozenset(names.split()) for kind, names in _FUNCTIONS.items()}
# Operations on tensors, `keras.ops.…`: every class of these modules but those that call a function.
OPERATION_MODULES = tuple(
    f"keras.src.ops.{name}" for name in ("core", "numpy", "nn", "math", "linalg", "image")
)
CALLING = {"AssociativeScan", "Cond", "ForiLoop", "JVP", "Map", "Scan", "Switch", "WhileLoop"}
CALLING |= {"VectorizedMap"}
# Known and refused: they run code that comes with the file, or open what it names.
REFUSED = {"Lambda", "__lambda__", "__typespec__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer"}
REFUSED |= {"FlaxLayer"}


def is_object(name: Any, module: Any) -> bool:
    """Whether the class `name` that Keras would find in `module` is one of the lists'."""
    return _found(name, module) in allowed()[0]


def is_function(name: Any, module: Any) -> bool:
    """Whether the function `name` that Keras would find in `module` is one of the lists'.

    For 'builtins' Keras looks through its activations, losses and metrics by name."""
    if module == "builtins":
        return any(name in FUNCTIONS[kind] for kind in ("activations", "losses", "metrics"))
    return _found(name, module) in allowed()[1]


def _found(name, module):
    """What `module` (already imported: nothing is imported at a file's request) calls `name`."""
    if not isinstance(name, str) or not isinstance(module, str):
        return None
    if module != "keras" and not module.startswith("keras."):
        return None
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type | types.FunctionType) else None


@functools.cache
def allowed() -> tuple[frozenset, frozenset]:
    """The classes and the functions of the installed Keras that the lists name."""
    import keras
    from keras.src.models.functional import Functional

    classes = {Functional}
    for kind, names in CLASSES.items():
        module = functools.reduce(getattr, kind.split("."), keras)
        classes |= {getattr(module, name) for name in names if hasattr(module, name)}
    for module in OPERATION_MODULES:
        classes |= {
            found
            for name, found in vars(sys.modules[module]).items()
            if isinstance(found, type)
            and issubclass(found, keras.Operation)
            and found.__module__ == module
            and name not in CALLING
        }
    functions = {
        getattr(getattr(keras, kind), name)
        for kind, names in FUNCTIONS.items()
        for name in names
        if hasattr(getattr(keras, kind), name)
    }
    return frozenset(classes), frozenset(functions)
