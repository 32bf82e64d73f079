"""Whether a format can hold a result, said once the photo's size is known and before anything is drawn."""

from collections.abc import Sequence

from cartoon.errors import OptionsError
from cartoon.images.formats import OutputFormat
from cartoon.images.resize import result_shape
from cartoon.options import LONGEST_SIDES, Options


def check_fit(name: str, shape: Sequence[int], format: OutputFormat, options: Options) -> None:
    """Raises OptionsError, naming the photo, where what is asked of one of this shape (height, width) is too large."""
    height, width = (side * options.upscale for side in result_shape(shape, options.size))
    if max(height, width) > LONGEST_SIDES[format]:
        enlarged = " or a smaller upscale" if options.upscale > 1 else ""
        raise OptionsError(
            f"{name}: format {format} cannot hold {width} x {height} px: choose png or a smaller size{enlarged}."
        )
