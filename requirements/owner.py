"""Prints the folder that this interpreter's environment runs cord-distill from, where it is another one than this."""

import json
import os
from importlib import metadata
from urllib.parse import unquote, urlparse

try:
    origin = metadata.distribution("cord-distill").read_text("direct_url.json")
except metadata.PackageNotFoundError:
    origin = None
folder = unquote(urlparse(json.loads(origin)["url"]).path) if origin else ""
if os.path.isdir(folder) and not os.path.samefile(folder, os.getcwd()):
    print(folder)
