from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from millrace.core.errors import RequestError
from millrace.process.settings import KafkaSettings, LogLevel, RedisSettings, SaslMechanism, SecurityProtocol, Settings


def signed_in(**changes: object) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap": "broker-1:9093,broker-2:9093",
            "security_protocol": "sasl_ssl",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "scorer",
            "sasl_password": "open sesame",
            **changes,
        }
    )


def test_plain_settings_become_three_client_keys() -> None:
    assert KafkaSettings(bootstrap="localhost:9092").client() == {
        "bootstrap.servers": "localhost:9092",
        "client.id": "millrace",
        "security.protocol": "plaintext",
    }


@pytest.fixture
def pem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the settings of these tests name."""
    monkeypatch.chdir(tmp_path)
    for name in ("ca.pem", "me.pem", "me.key", "provider.pem"):
        Path(name).write_text("-----BEGIN SOMETHING-----")


@pytest.mark.usefixtures("pem")
def test_every_setting_has_its_client_key() -> None:
    kafka = signed_in(
        client_id="rain-0",
        ssl_ca="ca.pem",
        ssl_certificate="me.pem",
        ssl_key="me.key",
        ssl_key_password="hush",  # noqa: S106 -- not a password of anything
        ssl_verify_hostname=False,
        properties={"sasl.oauthbearer.scope": "kafka"},
    )
    assert kafka.client() == {
        "bootstrap.servers": "broker-1:9093,broker-2:9093",
        "client.id": "rain-0",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "scorer",
        "sasl.password": "open sesame",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "me.pem",
        "ssl.key.location": "me.key",
        "ssl.key.password": "hush",
        "ssl.endpoint.identification.algorithm": "none",
        "sasl.oauthbearer.scope": "kafka",
    }


OAUTH: dict[str, object] = {
    "token_url": "https://identity.example/token",
    "client_id": "scorer",
    "client_secret": "open sesame",
    "scope": "kafka",
    "ca": "provider.pem",
}


def with_tokens(**changes: object) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap": "broker-1:9093",
            "security_protocol": "sasl_ssl",
            "sasl_mechanism": "OAUTHBEARER",
            "oauth": {**OAUTH, **changes},
        }
    )


@pytest.mark.usefixtures("pem")
def test_where_tokens_come_from_has_its_client_keys() -> None:
    keys = with_tokens().client()
    assert {key: value for key, value in keys.items() if "oauth" in key or "https" in key} == {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://identity.example/token",
        "sasl.oauthbearer.client.id": "scorer",
        "sasl.oauthbearer.client.secret": "open sesame",
        "sasl.oauthbearer.scope": "kafka",
        "https.ca.location": "provider.pem",
    }
    assert "sesame" not in f"{with_tokens()!r}"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"client_secret": None}, "one of client_secret and client_secret_file"),
        ({"client_secret_file": "also"}, "one of client_secret and client_secret_file"),
        ({"token_url": "identity.example/token"}, "write https://HOST/PATH"),
        ({"token_url": "https://me:secret@identity.example/token"}, "without a user name or a password"),
    ],
)
def test_where_tokens_come_from_is_checked(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        with_tokens(**changes)


def test_extra_keys_are_added_and_win() -> None:
    client = KafkaSettings(bootstrap="localhost:9092").client(**{"group.id": "g", "client.id": "other"})
    assert (client["group.id"], client["client.id"]) == ("g", "other")


def test_secrets_show_in_no_text_of_the_settings() -> None:
    kafka = signed_in(properties={"sasl.oauthbearer.client.secret": "open sesame too"})
    assert "sesame" not in f"{kafka} {kafka!r}"
    assert "sesame" not in kafka.model_dump_json(exclude={"properties"})


def test_a_password_can_come_from_a_file_and_change_there(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    kafka = signed_in(sasl_password=None, sasl_password_file=file)
    assert kafka.client()["sasl.password"] == "first"
    file.write_text("second\n")
    assert kafka.client()["sasl.password"] == "second"


def test_a_missing_password_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    kafka = signed_in(sasl_password=None, sasl_password_file=tmp_path / "absent")
    with pytest.raises(RequestError, match=r"absent cannot be read: No such file or directory \(check its path"):
        kafka.client()


def test_a_certificate_that_is_none_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"absent of ssl_ca cannot be read: No such file"):
        signed_in(ssl_ca=tmp_path / "absent").client()
    (tmp_path / "der").write_bytes(b"0\x82")
    with pytest.raises(RequestError, match=r"der of ssl_certificate is not PEM"):
        signed_in(ssl_certificate=tmp_path / "der").client()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"bootstrap": "broker"}, "is not HOST:PORT"),
        ({"bootstrap": "kafka://broker:9092"}, "is not HOST:PORT"),
        ({"bootstrap": "broker:70000"}, "is not HOST:PORT"),
        ({"bootstrap": "a:1,"}, "is not HOST:PORT"),
        ({"sasl_mechanism": None}, "needs sasl_mechanism"),
        ({"security_protocol": "ssl"}, "security_protocol is not sasl_plaintext or sasl_ssl"),
        ({"sasl_username": None}, "needs sasl_username"),
        ({"sasl_password": None}, "one of sasl_password and sasl_password_file"),
        ({"sasl_password_file": "also"}, "one of sasl_password and sasl_password_file"),
        ({"oauth": OAUTH}, "sasl_mechanism is not OAUTHBEARER"),
        ({"ssl_key_password": "a", "ssl_key_password_file": "b"}, "one of ssl_key_password"),
        ({"properties": {"sasl.password": "x"}}, "properties must not set sasl.password"),
        ({"boostrap": "broker:9092"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_do_not_agree_are_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        signed_in(**changes)


def test_settings_never_change() -> None:
    kafka = KafkaSettings(bootstrap="localhost:9092")
    with pytest.raises(ValidationError, match="frozen"):
        kafka.bootstrap = "elsewhere:9092"


def test_the_environment_is_read_by_nested_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA__BOOTSTRAP", "broker:9092")
    monkeypatch.setenv("MILLRACE_KAFKA__SECURITY_PROTOCOL", "sasl_plaintext")
    monkeypatch.setenv("MILLRACE_KAFKA__SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("MILLRACE_KAFKA__SASL_USERNAME", "me")
    monkeypatch.setenv("MILLRACE_KAFKA__SASL_PASSWORD", "open sesame")
    monkeypatch.setenv("MILLRACE_LOG__LEVEL", "debug")
    monkeypatch.setenv("MILLRACE_HOME", "/somewhere")
    settings = Settings.load()
    assert settings.kafka == KafkaSettings(
        bootstrap="broker:9092",
        security_protocol=SecurityProtocol.SASL_PLAINTEXT,
        sasl_mechanism=SaslMechanism.PLAIN,
        sasl_username="me",
        sasl_password=SecretStr("open sesame"),
    )
    assert settings.log.level is LogLevel.DEBUG
    assert settings.home == Path("/somewhere")


def test_without_an_environment_there_are_defaults_and_no_broker() -> None:
    settings = Settings.load()
    assert settings.kafka is None
    assert settings.health.host == "127.0.0.1"


def test_a_tilde_in_the_home_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HOME", "~/elsewhere")
    assert Settings.load().home == Path.home() / "elsewhere"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("MILLRACE_KAFKA__BOOTSTRAPP", "a:1", r"MILLRACE_KAFKA__BOOTSTRAPP: no such setting .*\(remove it, or correct"),
        ("MILLRACE_KAFKA__SASL_PASSWORD", "sesame", r"MILLRACE_KAFKA__BOOTSTRAP: is missing \(add it\)"),
        ("MILLRACE_HEALTH__PORT", "many", "MILLRACE_HEALTH__PORT: should be a valid integer"),
        ("MILLRACE_HEALTH__PORT", "65536", "MILLRACE_HEALTH__PORT: should be less than or equal to 65535"),
        ("MILLRACE_LOG__LEVEL", "loud", "MILLRACE_LOG__LEVEL: should be 'debug', 'info', 'warning' or 'error'"),
        ("MILLRACE_KAFKA__PROPERTIES", "not json", "write lists and maps as JSON"),
    ],
)
def test_a_wrong_variable_is_named_but_not_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=complaint) as raised:
        Settings.load()
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://store:6379", "write redis://"),
        ("redis://", "write redis://"),
        ("redis://store?db=1", "write redis://"),
        ("redis://me:hush@store", "must not hold a user name or a password"),
        ("redis://store/first", "'first' is not the number of a database"),
    ],
)
def test_an_address_of_a_redis_is_checked_and_its_password_is_not_repeated(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_REDIS__URL", url)
    with pytest.raises(RequestError, match=f"MILLRACE_REDIS__URL.*{words}") as caught:
        Settings.load()
    assert "hush" not in str(caught.value)


def test_the_password_of_a_redis_is_shown_to_its_client_alone(tmp_path: Path) -> None:
    redis = RedisSettings(url="rediss://store:6380/2", password=SecretStr("open sesame"))
    assert "sesame" not in repr(redis)
    assert redis.secret() == "open sesame"
    (tmp_path / "secret").write_text("from a file\n")
    assert RedisSettings(url="redis://store", password_file=tmp_path / "secret").secret() == "from a file"
    with pytest.raises(ValidationError, match="one of password and password_file"):
        RedisSettings(url="redis://store", password=SecretStr("a"), password_file=tmp_path / "secret")
