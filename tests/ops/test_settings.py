from pathlib import Path

import pytest
from pydantic import ValidationError

from ops.settings import (
    EdgeSettings,
    SettingsError,
    env_example,
    load_settings,
    unknown_variables,
    variables,
)
from persistence.redis_connection import redis_client

EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def test_the_example_names_every_variable_with_its_description_and_default() -> None:
    text = EXAMPLE.read_text()
    assert text == env_example()
    listed = [
        line.partition("=")[0] for line in text.splitlines() if "=" in line and line[0] != "#"
    ]
    assert listed == list(variables())
    assert all(variables().values())


def test_the_example_as_it_stands_means_the_defaults() -> None:
    assert load_settings(EXAMPLE) == load_settings()


def test_defaults_are_those_of_the_design() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8000, None)
    assert (settings.document_tokens, settings.document_depth, settings.operation_cost) == (
        2_000,
        12,
        1_000,
    )
    assert settings.statement_timeout_ms < settings.operation_seconds * 1_000
    assert settings.signing_key_path == settings.data_dir / "keys" / "signing.json"
    assert isinstance(settings, EdgeSettings)


def test_the_environment_wins_over_the_file_and_an_override_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("ASSAY_PORT=1\nASSAY_LOG_LEVEL=debug\nASSAY_DATA_DIR=~/assay\n")
    monkeypatch.setenv("ASSAY_PORT", "2")
    assert load_settings(file).port == 2
    assert load_settings(file).log_level == "DEBUG"
    assert load_settings(file).data_dir == Path.home() / "assay"
    assert load_settings(file, port=3).port == 3


def test_origins_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CORS_ORIGINS", "https://a.edu, http://localhost:5173,")
    assert load_settings().cors_origins == ("https://a.edu", "http://localhost:5173")


def test_the_direct_url_is_the_database_url_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", "postgresql://u:p@pooler/assay")
    pooled = load_settings().direct_url
    assert pooled is not None
    assert pooled.get_secret_value() == "postgresql://u:p@pooler/assay"
    monkeypatch.setenv("ASSAY_DATABASE_DIRECT_URL", "postgresql://u:p@primary/assay")
    direct = load_settings().direct_url
    assert direct is not None
    assert direct.get_secret_value() == "postgresql://u:p@primary/assay"


@pytest.mark.parametrize(
    ("variable", "value", "advice"),
    [
        ("ASSAY_PORT", "eighty", "valid integer"),
        ("ASSAY_PORT", "70000", "65535"),
        ("ASSAY_PORT", "tcp://10.0.0.7:8000", "enableServiceLinks"),
        ("ASSAY_LOG_LEVEL", "loud", "'DEBUG'"),
        ("ASSAY_TOKEN_TTL_SECONDS", "901", "900"),
        ("ASSAY_CORS_ORIGINS", "*", "https://app.example.edu"),
        ("ASSAY_CORS_ORIGINS", "https://a.edu/path", "without a path"),
        ("ASSAY_DATABASE_URL", "mysql://u:hunter2@h/d", "postgresql://"),
        ("ASSAY_DATABASE_URL", "postgresql://u:hunter2@h", "database"),
        ("ASSAY_DATABASE_URL", "postgresql://u:hunter2@h:port/d", "postgresql://"),
        ("ASSAY_STATEMENT_TIMEOUT_MS", "10000", "below ASSAY_OPERATION_SECONDS"),
        ("ASSAY_DATABASE_DIRECT_URL", "postgresql://u:hunter2@h/d", "needs ASSAY_DATABASE_URL"),
        ("ASSAY_REDIS_URL", "http://u:hunter2@h", "redis://"),
        ("ASSAY_REDIS_URL", "redis://", "redis://"),
        ("ASSAY_REDIS_URL", "redis://u:hunter2@h:port", "redis://"),
        ("ASSAY_REDIS_URL", "redis://u:hunter2@h:70000", "redis://"),
        ("ASSAY_REDIS_URL", "redis://u:hunter2@h/name", "redis://"),
        ("ASSAY_REDIS_URL", "unix://", "unix://"),
        ("ASSAY_REDIS_URL", "rediss://u:hunter2@h?ssl_verify=0", "'ssl_verify' is not an option"),
    ],
)
def test_a_bad_value_names_its_variable_and_never_shows_a_secret(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, advice: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (problem,) = caught.value.problems
    assert problem.variable == variable
    assert advice in problem.advice
    assert variable in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://:p%40ss@h:6380/3",
        "rediss://u:p@h/0?ssl_ca_certs=/etc/ca.pem",
        "redis://[::1]:6379",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
    ],
)
def test_addresses_of_redis_that_can_be_used(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ASSAY_REDIS_URL", url)
    read = load_settings().redis_url
    assert read is not None
    redis_client(read.get_secret_value(), "test", seconds=1)


def test_every_bad_variable_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PORT", "x")
    monkeypatch.setenv("ASSAY_POOL_SIZE", "0")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert {problem.variable for problem in caught.value.problems} == {
        "ASSAY_PORT",
        "ASSAY_POOL_SIZE",
    }


def test_settings_are_frozen_and_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", "postgresql://u:hunter2@h/d")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + settings.model_dump_json()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]  # frozen, which is what is tested


def test_misspelt_variables_are_found_and_those_of_kubernetes_are_not() -> None:
    environment = {
        "ASSAY_PROT": "1",
        "ASSAY_PORT": "1",
        "PATH": "",
        "ASSAY_SERVICE_HOST": "",
        "ASSAY_SERVICE_PORT_HTTP": "",
        "ASSAY_PORT_8000_TCP_ADDR": "",
        "ASSAY_API_SERVICE_HOST": "",
        "ASSAY_API_PORT": "",
    }
    assert unknown_variables(environment) == ["ASSAY_PROT"]


MODEL = '[{"name": "gemini:g", "prices": [{"from": "2026-01-01", "input": 1, "output": 2}]}]'


@pytest.mark.parametrize(
    ("given", "variable", "advice"),
    [
        ({"STUDY_MODELS": "gemini:g"}, "ASSAY_STUDY_MODELS", "needs an entry with its price"),
        ({"STUDY_MODELS": "g", "MODELS": MODEL}, "ASSAY_STUDY_MODELS", "write a model as"),
        ({"GRADING_MODELS": "x=offline"}, "ASSAY_GRADING_MODELS", "'x' is not a role"),
        ({"STUDY_MODELS": "gemini:g", "MODELS": MODEL}, "ASSAY_GEMINI_API_KEY", "needs it"),
        ({"MODELS": '[{"name": "gemini:g", "prices": []}]'}, "ASSAY_MODELS", "at least 1 item"),
    ],
)
def test_a_model_that_cannot_be_asked_is_found_at_the_start(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], variable: str, advice: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"ASSAY_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (problem,) = caught.value.problems
    assert problem.variable == variable
    assert advice in problem.advice


def test_models_sit_where_they_are_put(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_MODELS", MODEL)
    monkeypatch.setenv("ASSAY_GEMINI_API_KEY", "k")
    monkeypatch.setenv("ASSAY_STUDY_MODELS", "tutor=gemini:g")
    settings = load_settings()
    assert [str(one) for one in settings.study_chains()["tutor"]] == ["gemini:g"]
    assert settings.study_chains()["critic"] == ()
    assert set(settings.grading_chains().values()) == {()}
