import numpy as np
import pytest
from google.protobuf import text_format

from tests.builders import max_relative_error, run_onnx
from tsnd.caffe.net_pb2 import NetParameter
from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import PackageError
from tsnd_builder.export import export_onnx
from tsnd_builder.networks.bn_inception import bn_inception
from tsnd_builder.serving_graph import Modality
from tsnd_builder.synth import synthesize, write_caffe_model

CLASSES = 7
# On images of the kind it is calibrated for, but not the same ones: of 69 layers, most come
# out between 1.0 and 1.2.
DEVIATIONS = (0.8, 1.5)
LARGEST_MEAN = 0.2
# Two results of one computation differ by less than 1e-4; these are of different images.
CLEARLY_DIFFERENT = 0.1

modalities = pytest.mark.parametrize("modality", list(Modality))


@pytest.fixture(scope="module")
def models():
    return {
        modality: synthesize("bn_inception", modality, classes=CLASSES, seed=0)
        for modality in Modality
    }


@pytest.fixture(scope="module")
def folders(models, tmp_path_factory):
    """Write the model of each modality, once."""
    made = {modality: tmp_path_factory.mktemp(modality) for modality in Modality}
    for modality, folder in made.items():
        write_caffe_model(models[modality], folder, classes=CLASSES)
    return made


@pytest.fixture(scope="module")
def graphs(folders):
    return {
        modality: load_graph(folder / "deploy.prototxt", folder / "weights.caffemodel")
        for modality, folder in folders.items()
    }


def images_for(modality, count=3):
    """Draw images whose power falls with the square of frequency, of mean 0."""
    channels, deviation = (3, 55.0) if modality is Modality.RGB else (10, 12.0)
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224))
    frequency[0, 0] = np.inf
    noise = np.random.default_rng(5).normal(size=(count, channels, 224, 224))
    images = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(224, 224))
    return (images * deviation / images.std()).astype(np.float32)


def test_the_same_seed_gives_the_same_files(folders, tmp_path):
    again = synthesize("bn_inception", Modality.RGB, classes=CLASSES, seed=0)
    write_caffe_model(again, tmp_path, classes=CLASSES)

    for file in ("deploy.prototxt", "weights.caffemodel", "labels.txt"):
        assert (tmp_path / file).read_bytes() == (folders[Modality.RGB] / file).read_bytes()


def test_another_seed_gives_other_weights_of_the_same_net(models):
    first = models[Modality.RGB]

    other = synthesize("bn_inception", Modality.RGB, classes=CLASSES, seed=1)

    assert other.net == first.net
    for name, (weight, *_) in first.blobs.items():
        assert not np.array_equal(other.blobs[name][0], weight)


@modalities
def test_the_prototxt_parses_strictly_as_the_deploy_net_it_is(folders, modality):
    text = (folders[modality] / "deploy.prototxt").read_text(encoding="utf-8")

    net = text_format.Parse(text, NetParameter())

    channels = 3 if modality is Modality.RGB else 10
    assert net == bn_inception(channels=channels, classes=CLASSES)


@modalities
def test_each_layer_with_weights_has_finite_float32_ones(graphs, modality):
    trained = [layer for layer in graphs[modality].layers if layer.blobs]

    assert len(trained) == 69 + 69 + 1
    assert all(np.isfinite(blob).all() for layer in trained for blob in layer.blobs)


@pytest.mark.parametrize(
    ("classes", "first", "last"), [(1, "0", "0"), (10, "0", "9"), (12, "00", "11")]
)
def test_labels_are_as_many_as_classes_and_sort_as_they_stand(
    models, tmp_path, classes, first, last
):
    write_caffe_model(models[Modality.RGB], tmp_path, classes=classes)

    labels = (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert len(labels) == classes
    assert labels == sorted(labels)
    assert (labels[0], labels[-1]) == (f"class {first}", f"class {last}")


@modalities
def test_features_and_scores_differ_between_images(graphs, modality):
    outputs = ["global_pool", "fc-action"]
    model = export_onnx(graphs[modality], outputs=outputs)

    results = run_onnx(model, {"data": images_for(modality)})

    for name in outputs:
        first, second, third = results[name]
        assert max_relative_error(first, second) > CLEARLY_DIFFERENT
        assert max_relative_error(second, third) > CLEARLY_DIFFERENT


@modalities
def test_activations_keep_their_scale_through_all_layers(graphs, modality):
    """BN statistics that fit make what each BN normalizes of mean 0 and deviation 1."""
    graph = graphs[modality]
    norms = [layer for layer in graph.layers if layer.type == "BN"]
    inputs = [layer.bottoms[0].name for layer in norms]
    model = export_onnx(graph, outputs=inputs, keep_bn=True)

    results = run_onnx(model, {"data": images_for(modality)})

    for layer, blob in zip(norms, inputs, strict=True):
        _, _, mean, variance = (array.reshape(-1, 1, 1) for array in layer.blobs)
        normalized = (results[blob] - mean) / np.sqrt(variance)
        assert abs(normalized.mean()) < LARGEST_MEAN
        assert DEVIATIONS[0] < normalized.std() < DEVIATIONS[1]


@modalities
def test_scores_vary_around_zero(graphs, modality):
    model = export_onnx(graphs[modality])

    scores = run_onnx(model, {"data": images_for(modality, 4)})["fc-action"]

    assert 0.5 < scores.std() < 4.0
    assert abs(scores.mean()) < scores.std()


def test_a_folder_is_made_with_its_parents(models, tmp_path):
    write_caffe_model(models[Modality.FLOW], tmp_path / "a" / "b", classes=CLASSES)

    assert len(list((tmp_path / "a" / "b").iterdir())) == 3


def test_a_folder_that_cannot_be_made_is_refused(models, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(PackageError, match=r"cannot write to .*file"):
        write_caffe_model(models[Modality.RGB], tmp_path / "file" / "below", classes=CLASSES)
