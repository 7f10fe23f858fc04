"""Descriptions of a network: shapes of its parts, and their code."""

from hbac_utils.models.describe import network_code, network_parts
from hbac_utils.recipe import load_recipe, override


def test_parts_have_the_shapes_of_the_model(compact_recipe):
    branch, head = network_parts(compact_recipe)
    assert branch[0] == ("raw EEG", "10,000 × 19\nsamples × electrodes, µV")
    assert branch[1] == ("view\nwaveform", "2,000 × 18")
    assert branch[2][1].startswith("16\n")  # four times the width
    assert head == [("softmax head", "16 features\n6 probabilities")]


def test_code_is_folded_and_complete():
    sources = network_code(override(load_recipe("multiview"), {"branches": []}))
    assert list(sources.code)[1:] == ["The view waveform", "The backbone keras_efficientnetv2"]
    assert "class WaveformView" in sources.code["The view waveform"]
    page = sources._repr_html_()
    assert page.count("<details>") == 3
    assert "&quot;" in page
