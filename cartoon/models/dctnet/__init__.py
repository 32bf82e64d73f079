"""Frozen TensorFlow graphs of DCT-Net (Men et al. 2022, https://arxiv.org/abs/2207.02426), run by torch alone.

`load(path)` reads such a `.pb` and gives what TensorFlow's session would make of a picture, within float32's rounding.
"""

from cartoon.models.dctnet.net import FrozenGraph as FrozenGraph
from cartoon.models.dctnet.net import GraphNet as GraphNet
from cartoon.models.dctnet.net import load as load
