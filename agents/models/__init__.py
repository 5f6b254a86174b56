import os

# onnxruntime's wheels otherwise keep a device id in the home folder and report to their maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
