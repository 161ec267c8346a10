import pytest

from shop import create_app
from shop.orders import place


@pytest.fixture
def app(tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "2026-11.txt").write_text("invoice of November\n", encoding="utf-8")
    return create_app(uploads=str(uploads))


@pytest.fixture
def client(app):
    return app.test_client()


def test_a_customer_finds_only_their_orders(app, client):
    place(app.config["DATABASE"], "ann", 1900)
    place(app.config["DATABASE"], "ben", 500)
    assert client.get("/orders?customer=ann").get_json() == [{"id": 1, "cents": 1900}]


def test_a_customer_without_orders_gets_an_empty_list(client):
    assert client.get("/orders?customer=cas").get_json() == []


def test_an_invoice_can_be_downloaded(client):
    assert client.get("/invoices/2026-11.txt").text == "invoice of November\n"


def test_a_missing_invoice_is_not_found(client):
    assert client.get("/invoices/1999-01.txt").status_code == 404


def test_lines_of_an_export_are_counted(client, tmp_path):
    export = tmp_path / "orders.csv"
    export.write_text("1,ann\n2,ben\n3,cas\n", encoding="utf-8")
    assert client.get(f"/exports/lines?file={export}").get_json() == {"lines": 3}
