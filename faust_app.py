"""The app for ``faust -A faust_app worker -l info``."""

from stream_app.app import create_app
from stream_app.settings import load_settings

app = create_app(load_settings())
