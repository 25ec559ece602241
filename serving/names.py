"""Names and defaults that several rooms share; imports nothing of ours."""

import re
from pathlib import Path

DEFAULT_MODEL = "flying_objects"
MODEL = re.compile(r"[a-z][a-z0-9_]*")
VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")  # not \d, which takes the digits of every script
VARIANT = ".as-deployed"  # ends the name of an archive that is served with other settings than its own

DEFAULT_PORT = 8080  # inference; management, metrics and gRPC follow
DEFAULT_PROXY_PORT = 8090  # nginx's, in front of a server; metrics of a container follow
DEFAULT_PAGE_PORT = 7860
DEFAULT_HOME, DEFAULT_STORE = Path("runs/server"), Path("model-store")
DEFAULT_GATE = Path("runs/gate")
# Environment variables for servers elsewhere: whose certificates to trust, and the token or gate's key.
CA_FILE, TOKEN = "FLYOBJ_CA_FILE", "FLYOBJ_TOKEN"
DEPLOYMENT = "deployment.json"  # in a model store: what should be served
