"""The computation by hand that commands are compared with, against the original code."""

import numpy as np

from tests import offline
from tests.client import golden


def test_crops_by_hand_are_those_of_the_original_code():
    compared = 0
    for found in golden.arrays("tencrop").values():
        for name, expected in found.items():
            source, _, rule = name.partition("_caffe_")
            modality, _, crop = rule.partition("_")
            if not crop.isdecimal():
                continue
            if modality == "rgb":
                actual = offline.rgb_input(found[f"{source}_bgr"], int(crop))
            else:
                actual = offline.flow_input(found[f"{source}_flow"], int(crop))
            np.testing.assert_array_equal(actual, expected, err_msg=name)
            compared += 1
    assert compared >= 4
