import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.weights import homogeneous_weights
from nc_keras.weights import rho
from nc_keras.weights import weights_of


def test_matrices_have_a_row_for_each_output(rng):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(5, 3, use_bias=False),
            keras.layers.Conv2DTranspose(4, 2),
            keras.layers.Reshape((25, 4)),
            keras.layers.EinsumDense("abc,cd->abd", (25, 7)),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    shapes = [one.matrix.shape for one in weights_of(model)]
    assert shapes == [(5, 18), (4, 20), (7, 4), (3, 175)]
    conv = weights_of(model)[0]
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    assert np.array_equal(conv.matrix[2], kernel[..., 2].ravel())
    transposed = weights_of(model)[1]
    kernel = keras.ops.convert_to_numpy(model.layers[1].kernel)
    assert np.array_equal(transposed.matrix[3], kernel[:, :, 3, :].ravel())


def test_nested_models_and_attention_are_read():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])
    inputs = keras.Input((5, 4))
    x = keras.layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="top")(inner(x)))
    names = [one.name for one in weights_of(model)]
    assert names[-1] == "top" and names[-2].startswith("sequential")
    assert len(names) == 6


def test_rho_normalises_the_outputs(digits):
    model = nc_keras.models.HomogeneousNet((8, 8, 1), 10, (4, 6), (12,))
    x = digits[0][:5]
    before = model.predict(x, verbose=0)
    product = rho(model)
    norms = [one.norm for one in weights_of(model)]
    assert np.isclose(product, np.prod(norms))
    model.set_weights([k / np.linalg.norm(k) for k in model.get_weights()])
    assert np.isclose(rho(model), 1.0)
    after = model.predict(x, verbose=0)
    assert np.allclose(product * after, before, rtol=1e-4, atol=1e-5)


def test_rho_with_batch_norm_is_that_of_the_authors_code(rng):
    model = nc_keras.models.ConvNet((8, 8, 1), 3, filters=(4, 6))
    for layer in model.layers:
        if "batch" in layer.name:
            width = layer.gamma.shape[0]
            layer.gamma.assign(rng.uniform(0.5, 2, width))
            layer.moving_variance.assign(rng.uniform(0.5, 2, width))
    expected = np.prod([one.norm for one in weights_of(model)])
    for layer in model.layers:
        if "batch" in layer.name:
            get = keras.ops.convert_to_numpy
            expected *= np.linalg.norm(np.sqrt(get(layer.gamma)))
            expected /= np.linalg.norm(np.sqrt(get(layer.moving_variance)))
    assert np.isclose(rho(model, batch_norm=True), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="BatchNormalization"):
        rho(model)


def test_negative_scales_are_refused():
    model = nc_keras.models.ConvNet((8, 8, 1), 3, filters=(4, 6))
    layer = next(one for one in model.layers if "batch" in one.name)
    layer.gamma.assign(-np.ones(4))
    with pytest.raises(ValueError, match=f"{layer.name}.*smallest gamma -1"):
        rho(model, batch_norm=True)


def chain(*layers):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, use_bias=False, name="first"),
            *layers,
            keras.layers.Flatten(),
            keras.layers.Dense(3, use_bias=False, name="head"),
        ]
    )


@pytest.mark.parametrize(
    "layer, said",
    [
        (keras.layers.BatchNormalization(name="bad"), "not homogeneous"),
        (keras.layers.Conv2D(4, 3, name="bad"), "with a bias"),
        (
            keras.layers.Conv2D(
                4, 3, use_bias=False, activation="gelu", name="bad"
            ),
            "activation gelu",
        ),
        (keras.layers.Activation("tanh", name="bad"), "activation tanh"),
        (keras.layers.ReLU(6.0, name="bad"), "threshold or maximum"),
        (
            keras.layers.EinsumDense("abcd,de->abce", (6, 6, 2), name="bad"),
            "not that of a dense layer",
        ),
        (nc_keras.layers.Standardization([0.0] * 4, [1.0] * 4, name="bad"), ""),
    ],
)
def test_what_is_not_homogeneous_is_named(layer, said):
    with pytest.raises(ValueError, match=f"layer 'bad'.*{said}"):
        homogeneous_weights(chain(layer))


def test_a_residual_block_is_named():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, use_bias=False)(inputs)
    y = keras.layers.Dense(4, use_bias=False, activation="relu")(x)
    x = keras.layers.Add(name="sum")([x, y])
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False)(x))
    with pytest.raises(ValueError, match="'sum'.*joins several tensors"):
        homogeneous_weights(model)


def test_other_calls_of_a_layer_do_not_matter():
    """A Sequential calls its layers anew whenever one is added."""
    model = keras.Sequential([keras.Input((4,))])
    for _ in range(3):
        model.add(keras.layers.Dense(5, use_bias=False, activation="relu"))
    assert len(homogeneous_weights(model)) == 3
    keras.Model(model.inputs, model.layers[0](2 * model.inputs[0]))
    assert len(homogeneous_weights(model)) == 3


def test_layers_that_are_shared_or_have_two_outputs_are_told():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, use_bias=False, name="shared")
    model = keras.Model(inputs, shared(shared(inputs)))
    with pytest.raises(ValueError, match="'shared'.*more than once"):
        homogeneous_weights(model)
    twice = keras.Sequential([keras.Input((4,)), shared], name="twice")
    model = keras.Model(inputs, twice(twice(inputs)))
    with pytest.raises(ValueError, match="'twice'.*more than once"):
        homogeneous_weights(model)
    x = keras.layers.Dense(4, use_bias=False)(inputs)
    two = [keras.layers.Dense(2, use_bias=False)(x) for _ in range(2)]
    with pytest.raises(ValueError, match="with one output"):
        homogeneous_weights(keras.Model(inputs, two))


def test_what_comes_first_may_be_anything():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            nc_keras.layers.Standardization([1.0] * 4, [2.0] * 4),
            keras.layers.Dense(3, use_bias=False, activation="relu"),
            keras.layers.Dropout(0.5),
            nc_keras.layers.ETFClassifier(3),
        ]
    )
    assert len(homogeneous_weights(model)) == 2


def test_normalised_layers_count_as_they_compute(digits):
    model = nc_keras.models.HomogeneousNet((8, 8, 1), 10, (4,), (12,))
    normalized = nc_keras.models.Normalized(model)
    assert np.isclose(rho(normalized), rho(model), rtol=1e-5)
    norms = [one.norm for one in weights_of(normalized)]
    assert np.allclose(norms, 1.0, atol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="not built"):
        weights_of(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="neither a dense layer"):
        weights_of(keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]))
    model = chain()
    model.layers[0].kernel.assign(np.full((3, 3, 1, 4), np.nan))
    with pytest.raises(ValueError, match="'first' hold NaN"):
        weights_of(model)
