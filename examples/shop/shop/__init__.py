"""A small shop: a catalogue, a cart, orders and downloads."""

from flask import Flask

from shop.export import exports
from shop.files import files
from shop.orders import connect, orders


def create_app(database=":memory:", uploads="uploads"):
    """The shop as a Flask application."""
    app = Flask(__name__)
    app.config["DATABASE"] = connect(database)
    app.config["UPLOADS"] = uploads
    app.register_blueprint(orders)
    app.register_blueprint(files)
    app.register_blueprint(exports)
    return app
