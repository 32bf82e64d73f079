"""Settings from the environment, options from callers."""

from typing import Any

import pytest

from cartoon.errors import OptionsError
from cartoon.options import Options
from cartoon.settings import Settings


def test_only_this_machine_is_served_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert Settings().host == "127.0.0.1"


def test_a_space_is_served_to_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "someone/cartoon")
    assert Settings().host == "0.0.0.0"
    assert Settings(host="127.0.0.1").host == "127.0.0.1"


def test_variables_are_read_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTOON_PORT", "8123")
    assert Settings().port == 8123
    assert Settings(port=9000).port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strength", 0.09),
        ("strength", 1.01),
        ("strength", "much"),
        ("strength", None),
        ("size", 63),
        ("size", 4097),
        ("size", 100.5),
        ("size", "huge"),
        ("exaggeration", -0.1),
        ("background", "#12345"),
        ("background", ""),
        ("format", "gif"),
        ("quality", 0),
        ("quality", 101),
        ("style", " "),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    given: dict[str, Any] = {name: value}  # of any type: that is what is refused
    with pytest.raises(OptionsError, match=name):
        Options(**given)


def test_numbers_as_text_are_understood() -> None:
    sent: dict[str, Any] = {"strength": "0.5", "size": "512", "quality": "80", "exaggeration": "1"}  # by a form
    options = Options(**sent)
    assert (options.strength, options.size, options.quality, options.exaggeration) == (0.5, 512, 80, 1.0)
    assert Options(size="original").size == "original"


def test_lists_are_written_with_commas_and_secrets_stay_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTOON_ALLOWED_HOSTS", "cartoon.example, shop.example:8443,")
    monkeypatch.setenv("CARTOON_API_KEYS", "key-one,key-two")
    monkeypatch.setenv("CARTOON_PASSWORD", "open sesame")
    settings = Settings()
    assert settings.allowed_hosts == ("cartoon.example", "shop.example:8443")
    assert [key.get_secret_value() for key in settings.api_keys] == ["key-one", "key-two"]
    assert "sesame" not in repr(settings)
    assert "key-one" not in repr(settings)
    flags = {"allowed_hosts": ["a.example", "b.example,c.example"]}
    assert Settings.model_validate(flags).allowed_hosts == (
        "a.example",
        "b.example",
        "c.example",
    )


def test_an_empty_password_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTOON_PASSWORD", "")
    assert Settings().password is None
