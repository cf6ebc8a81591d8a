"""Calls out go only where they may: the address that was looked at, by the name's certificate, and never elsewhere."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.domain.errors import AddressRefused, NameUnresolved
from core.use_cases import send_webhook as sending
from core.use_cases.deliver_webhooks import deliver_due
from core.use_cases.doors import Doors
from core.use_cases.manage_webhooks import EndpointOrder, create_endpoint
from core.use_cases.resend_webhook import send_test_event
from core.webhooks.address import read_allowed
from tests.integration import world
from tests.integration.callers import service
from tests.integration.receiver import receiving
from tests.integration.webhook_world import deliveries, make_due

NAME = "hooks.example.test"
PUBLIC = "93.184.216.34"


@pytest.fixture
def doors(server_url: str, template: str, tmp_path: Path) -> Iterator[Doors]:
    """A service that allows nothing private."""
    with service(server_url, template, tmp_path / "lethe") as opened:
        yield opened


@pytest.fixture
def server_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A certificate for `NAME` that this process trusts as an operator would have it trust one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    sending._trust.cache_clear()
    yield context
    sending._trust.cache_clear()


def test_the_connection_goes_to_the_address_and_everything_else_by_the_name(server_tls: ssl.SSLContext) -> None:
    asked: list[tuple[str, int]] = []
    shown: list[str | None] = []

    def resolve(name: str, port: int) -> list[str]:
        asked.append((name, port))
        return ["127.0.0.1"]

    def note_name(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        shown.append(name)

    server_tls.sni_callback = note_name
    allowed = read_allowed("127.0.0.0/8")
    with receiving(tls=server_tls) as receiver:
        url = f"https://{NAME}:{receiver.port}/hook?token=x"
        outcome = sending.send_webhook(url, {"webhook-id": "evt_1"}, b"{}", allowed=allowed, resolve=resolve)
        assert (outcome.status, outcome.trouble) == (204, None)
        other = sending.send_webhook(url.replace("hooks", "other"), {}, b"{}", allowed=allowed, resolve=resolve)
    assert other.trouble == "certificate", "a certificate of another name is not believed"
    [call] = receiver.calls
    assert call.path == "/hook?token=x"
    assert call.headers["host"] == f"{NAME}:{receiver.port}"
    assert shown[0] == NAME
    assert [name for name, _ in asked] == [NAME, NAME.replace("hooks", "other")], "once for each call"


def test_without_our_trust_a_certificate_is_refused(
    server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    sending._trust.cache_clear()
    with receiving(tls=server_tls) as receiver:
        url = f"https://{NAME}:{receiver.port}/"
        outcome = sending.send_webhook(
            url, {}, b"{}", allowed=read_allowed("127.0.0.1"), resolve=lambda *_: ["127.0.0.1"]
        )
        assert receiver.calls == []
    assert outcome.trouble == "certificate"


def test_an_address_that_does_not_answer_is_followed_by_the_next() -> None:
    with receiving() as receiver:
        url = f"http://{NAME}:{receiver.port}/"
        outcome = sending.send_webhook(
            url, {}, b"{}", allowed=read_allowed("127.0.0.0/8"), resolve=lambda *_: ["127.0.0.9", "127.0.0.1"]
        )
    assert outcome.status == 204


def test_a_private_address_is_refused_when_an_endpoint_is_made(doors: Doors) -> None:
    with receiving() as receiver:
        for url in (
            receiver.url,
            f"https://127.0.0.1:{receiver.port}/",
            "https://localhost/",
            "https://169.254.169.254/",
        ):
            with pytest.raises(AddressRefused):
                create_endpoint(EndpointOrder(url=url), caller=world.ADMIN, doors=doors)
        assert receiver.calls == []


def test_a_name_that_leads_nowhere_yet_is_taken_and_looked_up_at_every_call(doors: Doors) -> None:
    order = EndpointOrder(url=f"https://{NAME}/")
    made = create_endpoint(order, caller=world.ADMIN, doors=doors, resolve=lambda *_: [])
    send_test_event(made["id"], caller=world.ADMIN, once=world.NOTHING, doors=doors)
    assert deliver_due(doors, resolve=lambda *_: []) == 1
    assert deliveries(doors)[0].last_trouble == "name_unresolved"
    with pytest.raises(NameUnresolved):
        create_endpoint(EndpointOrder(url=f"http://{NAME}/"), caller=world.ADMIN, doors=doors, resolve=lambda *_: [])


def test_a_name_that_turned_private_since_is_refused_at_the_call(doors: Doors) -> None:
    """DNS rebinding: public when it was registered, this machine when it is called."""
    with receiving() as receiver:
        order = EndpointOrder(url=f"https://{NAME}:{receiver.port}/")
        made = create_endpoint(order, caller=world.ADMIN, doors=doors, resolve=lambda *_: [PUBLIC])
        send_test_event(made["id"], caller=world.ADMIN, once=world.NOTHING, doors=doors)
        for answer in (["127.0.0.1"], ["::ffff:127.0.0.1"], [PUBLIC, "127.0.0.1"]):
            assert deliver_due(doors, resolve=lambda *_, found=answer: found) == 1
            assert deliveries(doors)[0].last_trouble == "address_refused"
            make_due(doors)
        assert receiver.calls == []


def test_an_endpoint_that_is_allowed_no_more_is_called_no_more(doors: Doors) -> None:
    with receiving() as receiver:
        generous = Doors(
            **{**vars(doors), "settings": doors.settings.model_copy(update={"webhook_allowed": "127.0.0.1"})}
        )
        made = create_endpoint(EndpointOrder(url=receiver.url), caller=world.ADMIN, doors=generous)
        send_test_event(made["id"], caller=world.ADMIN, once=world.NOTHING, doors=doors)
        assert deliver_due(doors) == 1
        assert receiver.calls == []
        make_due(doors)
        assert deliver_due(generous) == 1
        assert len(receiver.calls) == 1
