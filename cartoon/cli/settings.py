"""What commands do with settings: the environment's, overridden by the flags that were given."""

from typing import TYPE_CHECKING, Any

from cartoon.errors import OptionsError

if TYPE_CHECKING:
    from cartoon.settings import Settings


def settings_from(**flags: Any) -> "Settings":
    """Settings, a flag that is None being one that was not given; raises OptionsError."""
    from pydantic import ValidationError

    from cartoon.settings import Settings

    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise OptionsError(f"setting {first['loc'][0]}: {first['msg']}; got {first['input']!r}.") from error
